"""What the store of a structure tells whose run was stopped."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.cli.app import main
from iitdask.errors import PartialResultWarning, StoreError
from iitdask.model.system import System
from iitdask.study.problem import Problem
from iitdask.study.run import run_job
from iitdask.theory.options import IIT4
from tests.reference import sparse_systems
from tests.runs import Stop, bits


def stopped(store, stage, blocks, search, n=6):
    """Stop the unfolding of a ring within a stage; returns substrate and state."""
    factors, state = sparse_systems.factors("ring", "noisy", [2] * n, np.random.default_rng(3))
    substrate = iit.Substrate.from_factors(factors)
    problem = Problem(System.build(substrate, state), IIT4(search=search), "ces")
    with pytest.raises(KeyboardInterrupt):
        run_job(problem, store=store, observers=[Stop(stage, blocks)], block_seconds=1e-4)
    return substrate, state


@pytest.mark.parametrize(
    ("search", "stage", "blocks"), [("dense", "mice", 14), ("sparse", "sparse/mice", 10)]
)
def test_open__gives_the_mechanisms_of_a_structure_found_so_far(
    search, stage, blocks, tmp_path, capsys
):
    store = tmp_path / "s.zarr"
    substrate, state = stopped(store, stage, blocks, search)
    with pytest.warns(PartialResultWarning, match="structure is not finished: [0-9]+ of"):
        part = iit.open(store)
    assert 0 < part.attrs["blocks_searched"] < part.attrs["blocks"]
    before = part["mechanisms"].to_dataset()
    assert before.sizes["mechanism"] > 0, part.attrs["partial"]
    with pytest.raises(SystemExit, match="0"):
        main(["show", str(store)])
    said = capsys.readouterr().out
    assert "blocks of its mechanisms are searched" in " ".join(said.split())

    theory = {"name": "iit4", "search": search}
    for k, name in enumerate(before["mechanism"].values.tolist()):
        for side in ("cause", "effect"):
            purview = "".join(
                substrate.labels[i] for i in np.flatnonzero(before[f"purview_{side}"][k])
            )
            mechanism = name.replace(",", "")
            asked = iit.mechanism(substrate, state, mechanism, theory=theory)
            phi = asked["phi"].sel(direction=side, purview=purview)
            assert float(phi) == pytest.approx(float(before[f"phi_{side}"][k]), abs=1e-12)
            assert float(phi) == pytest.approx(float(asked["phi"].sel(direction=side).max()))
    assert (np.diff(before["phi"].values) <= 0).all()

    finished = iit.ces(substrate, state, theory=theory, store=store)
    assert bits(iit.open(store)["distinctions"]) == bits(finished["distinctions"])


def test_open__of_a_store_whose_search_has_not_begun_is_refused(tmp_path):
    store = tmp_path / "s.zarr"
    stopped(store, "system", 1, "dense")
    with pytest.raises(StoreError, match="has not finished"):
        iit.open(store)
