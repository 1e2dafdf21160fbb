"""Accounts are the same however they are computed, and resume where they stopped."""

import pytest
import xarray as xr
from distributed import Client, LocalCluster

import iitdask as iit
from iitdask.model.transition import Transition
from iitdask.run.result_group import load_result
from iitdask.run.storage import open_store
from iitdask.study.problem import Problem
from iitdask.study.run import estimate_job, run_job, verify_stored_run
from iitdask.theory.catalog import theory_options
from iitdask.theory.causation import partitions
from tests.runs import Blocks, bits
from tests.strategies import gate


def a_point(**changes):
    """Four noisy gates in a ring, one of them with a unit of background."""
    levels = (2,) * 5
    names = ("or", "and", "xor", "majority")
    factors = [gate(levels, [(i - 1) % 4, i, 4], names[i], 0.1 + i / 50) for i in range(4)]
    factors.append(gate(levels, [0], "copy", 0.2))
    given = {"before": "11111", "after": "11111", "causes": "ABCD", "effects": "ABCD"} | changes
    transition = Transition.build(iit.Substrate.from_tpm(factors), **given)
    return Problem(transition, theory_options("causation2019"), "account")


@pytest.fixture(scope="module")
def whole():
    return run_job(a_point())


@pytest.fixture
def _by_size(monkeypatch):
    """As large accounts are: one stage for each size of mechanisms."""
    monkeypatch.setattr(partitions, "BATCH_SECONDS", 0.0)


@pytest.mark.usefixtures("_by_size")
def test_blocks__one_and_many_give_the_same_bits(whole):
    blocks = Blocks()
    tree = run_job(a_point(), observers=[blocks], block_seconds=1e-7)
    assert blocks.filled > 40
    assert bits(tree) == bits(whole)


@pytest.mark.usefixtures("_by_size")
def test_store__interrupted_resumes_with_the_rest(whole, tmp_path):
    url = str(tmp_path / "run.zarr")
    full, first, second, third = Blocks(), Blocks(12), Blocks(), Blocks()
    run_job(a_point(), observers=[full], block_seconds=1e-7)
    with pytest.raises(KeyboardInterrupt):
        run_job(a_point(), store=url, observers=[first], block_seconds=1e-7)
    tree = run_job(a_point(), store=url, observers=[second], block_seconds=1e-7)
    assert bits(tree) == bits(whole)
    assert first.filled + second.filled == full.filled
    again = run_job(a_point(), store=url, observers=[third])
    assert third.filled == 0
    xr.testing.assert_identical(again, whole)
    read = load_result(open_store(url))
    assert bits(read) == bits(whole)
    assert verify_stored_run(url).problems == ()


def test_client__gives_the_same_as_memory(whole, tmp_path):
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        kept = run_job(a_point(), client=client, store=tmp_path / "a.zarr")
    assert bits(kept) == bits(whole)


@pytest.mark.usefixtures("_by_size")
def test_estimate__knows_all_stages_of_an_account():
    blocks = Blocks()
    run_job(a_point(), observers=[blocks])
    found = estimate_job(a_point(), seconds=0.0)
    assert found.complete
    assert found.blocks == blocks.filled


def test_occurrences_of_more_units_do_not_change_those_of_fewer(whole):
    limited = run_job(a_point(max_order=2))["links"].to_dataset()
    few = whole["links"].to_dataset()
    few = few.isel(link=few["mechanism"].values.sum(axis=1) <= 2)
    for name in ("alpha", "purview", "mechanism", "n_tied_purviews"):
        assert (limited[name].values == few[name].values).all()
