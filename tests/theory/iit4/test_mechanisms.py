"""Mechanisms divided over their purviews: the same bits as when each is searched whole."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import assume, given
from hypothesis import strategies as st

from iitdask.errors import UnreachableStateError
from iitdask.kernels.iit4.mechanism_search import group_masks, shard_numbers
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.estimate import estimate_recipe
from iitdask.run.events import StageOpened
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.iit4 import mechanisms
from iitdask.theory.iit4.mechanisms import (
    Sharding,
    expensive_mechanisms,
    find_maximal_causes_effects,
    shard_table,
    tied_purview_pairs,
)
from iitdask.theory.iit4.recipe import ces
from iitdask.theory.marginal_tables import marginals_stage
from iitdask.theory.options import IIT4
from tests.benchmarks.systems import KINDS as LARGE
from tests.benchmarks.systems import system
from tests.runs import Blocks, bits
from tests.strategies import KINDS, SYMMETRIC, cases, examples

EVERYTHING = Sharding(units=1, seconds=0.0)
NOTHING = Sharding(units=99)


def search(system, split):
    """A recipe of the search alone."""
    yield (marginals_stage(system),)
    return xr.DataTree(xr.Dataset((yield from find_maximal_causes_effects(system, split))))


def found(system, split, **options):
    """Phi and ties of every mechanism."""
    tree = execute(search(system, split), MemoryLedger(), SerialEngine(), **options)
    return {name: tree[name].values.tobytes() for name in ("phi", "ties", "tied_purviews")}


def test_tied_purview_pairs__are_the_set_bits_of_irreducible_mechanisms():
    chance = np.random.default_rng(4)
    phi = chance.choice([0.0, 0.5], (2, 16))
    bits = chance.integers(0, 256, (2, 16, 2), np.uint8) * chance.integers(
        0, 2, (2, 16, 2), np.uint8
    )
    mice = {"phi": xr.Variable(("d", "m"), phi), "tied_purviews": xr.Variable(tuple("dmb"), bits)}
    expected = [
        (direction, mechanism, purview)
        for direction in range(2)
        for mechanism in range(16)
        for purview in range(16)
        if phi[:, mechanism].min() > 0
        and bits[direction, mechanism, purview // 8] >> purview % 8 & 1
    ]
    pairs = tied_purview_pairs(mice)
    assert pairs.dtype == np.int64
    assert pairs.tolist() == [list(row) for row in expected] != []


def unfold(system, split, ledger=None, engine=None, **options):
    recipe = ces(system, IIT4(), split)
    return execute(recipe, ledger or MemoryLedger(), engine or SerialEngine(), **options)


def about(tree):
    """Attributes without how much of the search was bounded away."""
    return {key: value for key, value in tree.attrs.items() if key != "search"}


def drawn(data, **options):
    case = data.draw(cases(background=data.draw(st.booleans()), **options))
    try:
        return System.build(case.substrate(), case.state, case.units)
    except UnreachableStateError:
        assume(False)


@examples(60)
@given(st.data())
def test_divided__gives_the_phi_and_ties_of_the_whole_search(data):
    some = drawn(data, kinds=KINDS, units=(1, 4))
    least = data.draw(st.sampled_from((0.0, 1e-6, 4e-6)))  # all, or only the large mechanisms
    assert found(some, Sharding(1, least)) == found(some, NOTHING)


@examples(30)
@given(st.data())
def test_divided__gives_the_bits_of_the_whole_structure(data):
    some = drawn(data, kinds=(*SYMMETRIC, "coarse"), units=(3, 5))
    divided, whole = unfold(some, EVERYTHING), unfold(some, NOTHING)
    assert bits(divided) == bits(whole)
    assert about(divided) == about(whole)


@pytest.mark.parametrize("kind", LARGE)
def test_divided__gives_the_bits_of_larger_systems(kind):
    some = System.build(*system(kind, 8))
    assert found(some, Sharding(8, 4e-4)) == found(some, NOTHING)


def ternary(first, rest):
    """A unit of three values that follows the first of four units."""
    table = np.empty((2, 3))
    table[1] = first, (1 - first) * rest, (1 - first) * (1 - rest)
    table[0] = 0.2, 0.4, 0.4
    return ([0], table)


def test_purviews_apart_by_less_than_the_tolerance__tie_as_in_the_whole_search():
    # C is best by 6e-13 over D and 1.2e-12 over B: D ties with both, B not with C.
    # B and D are of one share, in which B ties.
    noisy = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    units = [ternary(0.45 + shift, 0.55) for shift in (-1.32e-12, 0.0, -0.66e-12)]
    some = System.build(Substrate.from_factors([([3], noisy), *units]), (1, 0, 0, 0))
    opened = []

    def note(event):
        if isinstance(event, StageOpened):
            opened.append(event.stage)

    tree = execute(search(some, EVERYTHING), MemoryLedger(), SerialEngine(), observers=[note])
    whole = execute(search(some, NOTHING), MemoryLedger(), SerialEngine())
    assert "waves/again" in opened
    tied = np.unpackbits(tree["tied_purviews"].values[1, 0b0001], bitorder="little")
    assert np.flatnonzero(tied).tolist() == [0b0100, 0b1000]
    for name in ("phi", "ties", "tied_purviews"):
        assert tree[name].values.tobytes() == whole[name].values.tobytes()


def test_estimates__sample_mechanisms_that_share_a_scan():
    some = System.build(*system("ising", 8))
    searched, widths = mechanisms.mice_stage(some), []
    dear = dataclasses.replace(searched, cost=lambda region: 1e3 * searched.cost(region))

    def counted(prepared, region):
        widths.append(region[1].stop - region[1].start)
        return searched.compute(prepared, region)

    def recipe():
        yield (marginals_stage(some),)
        yield (dataclasses.replace(dear, compute=counted),)
        return xr.DataTree()

    found = estimate_recipe(recipe(), block_seconds=50.0, seconds=1.0)
    assert found.stages[-1].basis == "sampled"
    assert min(widths) > 1


def test_search__counts_every_pair_once():
    some = System.build(*system("ising", 6))
    divided, whole = (unfold(some, split).attrs["search"] for split in (EVERYTHING, NOTHING))
    assert divided["pairs"] == whole["pairs"]
    assert 0 < divided["pairs_searched"] < divided["pairs"]
    assert divided["search_nodes"] != whole["search_nodes"]  # other purviews are met first


def test_heavy__only_large_mechanisms_of_large_systems():
    assert not len(expensive_mechanisms(SimpleNamespace(n=14), Sharding())[0])
    heavy, _ = expensive_mechanisms(SimpleNamespace(n=15), Sharding())
    assert sorted(mask.bit_count() for mask in heavy.tolist()) == [14] * 15 + [15]
    parts, costs = shard_table(SimpleNamespace(n=15), Sharding())
    assert len(parts) == 15 * 4 + 8
    assert costs.max() <= 5.0
    assert not len(expensive_mechanisms(SimpleNamespace(n=15), Sharding(units=16))[0])


def test_shares__are_alike():
    shares = shard_numbers(9, 3)
    assert np.bincount(shares).tolist() == [64] * 8
    assert group_masks(9, 3) == [0b001001001, 0b010010010, 0b100100100]
    assert shares[0b000001011] == 0b010


@pytest.fixture(scope="module")
def ring():
    """Five units of noise and gates, some alike."""
    noisy = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.2, 0.8], [0.05, 0.95]]])
    units = [([i, (i + 1) % 5], noisy if i % 2 else noisy[::-1]) for i in range(5)]
    return System.build(Substrate.from_factors(units), (1, 0, 1, 1, 0))


@pytest.fixture(scope="module")
def whole(ring):
    return unfold(ring, NOTHING)


@pytest.fixture(scope="module")
def client():
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize("store", ["memory", "zarr"])
@pytest.mark.parametrize("engine", ["inline", "futures"])
def test_divided__gives_the_same_bits_on_every_engine(store, engine, ring, whole, client, tmp_path):
    ledger = MemoryLedger() if store == "memory" else ZarrLedger(open_store(tmp_path / "run.zarr"))
    blocks, run = Blocks(), SerialEngine() if engine == "inline" else DaskEngine(client)
    options = {"observers": [blocks], "block_seconds": 1e-5}
    tree = unfold(ring, EVERYTHING, ledger, run, **options)
    assert bits(tree) == bits(whole)
    assert blocks.filled > 40
    again = Blocks()
    assert bits(unfold(ring, EVERYTHING, ledger, run, observers=[again])) == bits(whole)
    assert again.filled == 0


@pytest.mark.parametrize("most", [7, 30, 60])  # within either wave, and after both
def test_interrupted__goes_on_where_it_stopped(most, ring, whole, tmp_path):
    url, first, rest, every = str(tmp_path / "run.zarr"), Blocks(most), Blocks(), Blocks()
    with pytest.raises(KeyboardInterrupt):
        unfold(ring, EVERYTHING, ZarrLedger(open_store(url)), observers=[first], block_seconds=1e-5)
    tree = unfold(
        ring, EVERYTHING, ZarrLedger(open_store(url)), observers=[rest], block_seconds=1e-5
    )
    unfold(ring, EVERYTHING, observers=[every], block_seconds=1e-5)
    assert bits(tree) == bits(whole)
    assert rest.filled == every.filled - first.filled


RUN = """
import sys
from iitdask.model.system import System
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.iit4.mechanisms import Sharding
from iitdask.theory.iit4.recipe import ces
from iitdask.theory.options import IIT4
from tests.benchmarks.systems import system
from tests.runs import Kill

recipe = ces(System.build(*system("ising", 6)), IIT4(), Sharding(1, 0.0))
how = {"observers": [Kill("waves/later", 5)], "block_seconds": 2e-5}
execute(recipe, ZarrLedger(open_store(sys.argv[1])), SerialEngine(), **how)
"""


@pytest.mark.cluster
def test_killed_in_the_second_wave__resumes_with_the_rest_and_gives_the_same_bits(tmp_path):
    some, url = System.build(*system("ising", 6)), tmp_path / "run.zarr"
    script, root = tmp_path / "run.py", str(Path(__file__).parents[3])
    script.write_text(RUN)
    killed = subprocess.run(
        [sys.executable, str(script), str(url)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ledger, left, every = ZarrLedger(open_store(url)), Blocks(), Blocks()
    tree = unfold(some, EVERYTHING, ledger, observers=[left], block_seconds=2e-5)
    again = unfold(some, EVERYTHING, observers=[every], block_seconds=2e-5)
    assert 5 <= every.filled - left.filled < every.filled
    assert bits(tree) == bits(unfold(some, NOTHING))
    assert tree.attrs == again.attrs  # the counts of what was searched, too


def test_estimate__knows_the_waves_and_samples_them(ring, monkeypatch):
    monkeypatch.setattr(mechanisms, "SECONDS_PER_PAIR", 1.0)
    known = estimate_recipe(ces(ring, IIT4(), EVERYTHING), seconds=0.05)
    stages = {each.name: each for each in known.stages}
    assert known.complete
    assert stages["waves/first"].basis == "sampled"
    assert {stages[name].basis for name in ("waves/later", "mice", "details")} == {"computed"}
    assert known.core_seconds < 10.0  # the costs that were predicted are some thousand
