"""IIT 3.0 as a user meets it: labels, options, stores, engines, the command line."""

import json

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import iitdask as iit
from iitdask.cli.app import main
from iitdask.errors import InputError, MemoryRefusedError, UnreachableStateError
from iitdask.run.events import BlocksFilled
from iitdask.study.problem import problem_from_study
from iitdask.study.run import run_job
from iitdask.study.spec import read_study

FIG4 = "iit3-2014-fig4"


def fig4(**more):
    return iit.ces(iit.examples.load(FIG4), "100", theory="iit3", **more)


@pytest.fixture(scope="module")
def tree():
    return fig4()


def test_ces__has_the_promised_nodes(tree):
    assert sorted(tree.children) == ["cut_distinctions", "distinctions", "system"]
    assert tree["system"].attrs["theory"] == "iit3"
    assert tree["system"].attrs["background"] == "causal"
    assert tree.attrs["n_distinctions"] == 6


def test_ces__names_concepts_and_partitions(tree):
    found = tree["distinctions"]
    names = found["mechanism"].values.tolist()
    assert sorted(names) == ["A", "AB", "ABC", "B", "BC", "C"]
    row = found.to_dataset().isel(mechanism=names.index("BC"))
    assert row["partition_cause"].item() == "B/∅ × C/AB"
    assert row["partition_effect"].item() == "B/A × C/∅"
    assert int(row["n_tied_partitions_cause"]) >= 1


def test_ces__every_variable_says_what_it_means(tree):
    for node in tree.subtree:
        for name, data in node.data_vars.items():
            assert data.attrs["comment"], name
            assert data.attrs.get("units") != "bit", name


def test_repertoires__are_distributions_over_the_purview(tree):
    found = tree["distinctions"]
    for side in ("cause", "effect"):
        states = 2 ** found[f"purview_{side}"].values.sum(axis=1)
        for name in (f"repertoire_{side}", f"partitioned_repertoire_{side}"):
            values = found[name].values
            assert (~np.isnan(values)).sum(axis=1).tolist() == states.tolist()
            assert np.nansum(values, axis=1) == pytest.approx(np.ones(len(values)), abs=1e-12)


def test_relations__are_not_defined(tree):
    with pytest.raises(InputError, match="expected relations, iit3 defines none"):
        next(iit.relations.iterate(tree))


def test_theory__options_by_value_name_or_mapping(tree):
    for theory in (iit.IIT3(), {"name": "iit3", "background": "causal"}):
        assert iit.ces(iit.examples.load(FIG4), "100", theory=theory).identical(tree)
    theory = {"name": "iit3", "background": "2013"}
    with pytest.raises(InputError, match=r"theory iit3: Invalid enum value '2013'.*background"):
        iit.sia(iit.examples.load(FIG4), "100", theory=theory)


def test_too_many_units__are_refused_in_one_line():
    ring = [{"gate": "COPY", "inputs": [k]} for k in (11, *range(11))]
    with pytest.raises(
        MemoryRefusedError, match=r"iit3: the repertoires of 12 units need [\d.]+ Gi"
    ):
        iit.sia(iit.Substrate.from_units(ring), "0" * 12, theory="iit3")


def test_store__keeps_every_bit_and_is_read_again(tree, tmp_path):
    point = problem_from_study(*read_study(FIG4), FIG4)
    events = []
    first = run_job(point, store=tmp_path / "fig4.zarr", observers=[events.append])
    assert sum(isinstance(e, BlocksFilled) for e in events) == 5
    xr.testing.assert_identical(first, tree)
    events.clear()
    again = run_job(point, store=tmp_path / "fig4.zarr", observers=[events.append])
    assert not any(isinstance(e, BlocksFilled) for e in events)
    xr.testing.assert_identical(again, tree)
    how = {"group": "result", "engine": "zarr", "consolidated": False}
    with xr.open_datatree(tmp_path / "fig4.zarr", **how) as opened:
        assert float(opened["system"]["phi"]) == 1.916666


def noisy(n=4, seed=5):
    rng = np.random.default_rng(seed)
    return iit.Substrate.from_tpm(rng.random((2**n, n)))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_sia__in_one_block_says_what_the_stages_of_a_structure_say(n):
    rng = np.random.default_rng(n)
    for noise in (0.0, 0.1):
        coarse = noise + (1 - 2 * noise) * (rng.random((2**n, n)) < 0.5)
        substrate = iit.Substrate.from_tpm(coarse)
        state = (rng.random(n) < coarse[0]).astype(int).tolist() if noise else coarse[0].astype(int)
        alone = iit.sia(substrate, list(state), theory="iit3")
        whole = iit.ces(substrate, list(state), theory="iit3")["system"].to_dataset()
        assert alone.identical(whole)


def test_engine__dask_and_small_blocks_give_the_same_bits():
    substrate = noisy()
    point = problem_from_study(
        *read_study({"substrate": {"example": "basic"}, "state": "100", "theory": "iit3"}), ""
    )
    expected = iit.ces(substrate, "0110", theory="iit3")
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        assert iit.ces(substrate, "0110", theory="iit3", client=client).identical(expected)
    whole = run_job(point)
    assert run_job(point, block_seconds=1e-6).identical(whole)


def called(*words):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(list(words))


def test_command_line__runs_and_shows(tmp_path, capsys):
    store = str(tmp_path / "fig4.zarr")
    called("run", FIG4, "--store", store, "--quiet")
    shown = capsys.readouterr().out
    assert "Phi                     1.91667" in shown
    assert "severs AB→C" in shown
    assert "0.667 0 0 0.333" in shown
    called("show", store, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["attrs"]["big_phi"] == 1.916666
    assert "repertoire_cause" in told["distinctions"]["variables"]
    called("verify", store)


def test_sweep__holds_what_the_analyses_say(tmp_path):
    basic, axes = iit.examples.load("basic"), {"state": ["100", "000", "111"]}
    cube = iit.sweep(axes, basic, theory="iit3", store=tmp_path / "sweep.zarr")
    for state, status in zip(axes["state"], cube["status"].values, strict=True):
        phi = cube["phi"].sel(state=state).item()
        if status == "done":
            assert phi == float(iit.sia(basic, state, theory="iit3")["phi"])
        else:
            with pytest.raises(UnreachableStateError, match="unreachable"):
                iit.sia(basic, state, theory="iit3")
    assert cube["phi"].sel(state="100").item() == pytest.approx(2.312499, abs=3e-6)
    again = iit.sweep(axes, basic, theory="iit3", store=tmp_path / "sweep.zarr")
    assert again["phi"].equals(cube["phi"])
