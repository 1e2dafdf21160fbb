"""The study of `workflows/iit3_networks`, one network of each class."""

from pathlib import Path

import pytest

import iitdask as iit
from iitdask.model.batch import Family
from iitdask.study.run import run_job
from iitdask.study.spec import read_study
from iitdask.study.sweep import sweep_from_study
from workflows.iit3_networks.analyse import networks, table

STUDY = Path(__file__).parents[2] / "workflows" / "iit3_networks" / "study.yaml"


def test_study__has_2016_networks():
    layout = sweep_from_study(*read_study(STUDY), "study").layout
    assert layout.grid.dims == {"state": 3, "substrate": 2016}
    assert len(layout.large) == 1968  # rings of four gates repeat


def test_table__has_every_class_and_each_network_what_it_has_alone(tmp_path):
    study, _ = read_study(STUDY)
    blocks = [{**block, "n": [4, 5], "count": 1} for block in study.sweep["substrate"]]
    sweep = {"state": study.sweep["state"][:2], "substrate": blocks}
    spec = {"compute": study.compute, "theory": study.theory, "sweep": sweep}
    store = tmp_path / "networks.zarr"
    run_job(sweep_from_study(*read_study(spec), "study"), store=store)
    found = networks(str(store))
    assert found.sizes["network"] == 24
    families = [family for block in blocks for family in Family.from_block(block)]
    members = {
        family.member_name(i): family.block(i) for family in families for i in range(family.count)
    }
    for k in range(0, 24, 4):
        one = found.isel(network=k)
        network = iit.Substrate.from_units(members[str(one["substrate"].item())]["units"])
        alone = iit.sia(network, str(one["state"].item()), theory="iit3")
        assert one["phi"].item() == float(alone["phi"])
    text = table(str(store))
    assert text.count("\n| ring |") == 3
    assert text.count(" of 1") == 24


def test_table__of_half_a_study_is_refused(tmp_path):
    ring = {"name": "ring-logic", "family": "ring", "n": [3, 4]}
    spec = {"compute": "sia", "sweep": {"substrate": [ring], "state": ["100"]}}
    store = str(tmp_path / "half.zarr")
    run_job(sweep_from_study(*read_study(spec), "study"), store=store)
    with pytest.raises(SystemExit, match="some networks are not done"):
        table(store)
