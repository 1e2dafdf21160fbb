"""System partitions by their source sets: many side by side, in blocks, in waves."""

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import assume, given
from hypothesis import strategies as st

from iitdask.errors import UnreachableStateError
from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    set_partition_minima,
    source_minima,
    starting_partition,
)
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    minimum_partition,
    optimal_partitions,
)
from iitdask.model.system import System
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.events import StageOpened
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.iit4 import partition_stages, system_analysis
from iitdask.theory.iit4.recipe import sia
from iitdask.theory.options import IIT4
from tests.benchmarks.systems import KINDS as LARGE
from tests.benchmarks.systems import system
from tests.runs import Blocks, bits
from tests.strategies import KINDS, cases, examples


def subsets(mask):
    """Every subset of a mask, the mask first and the empty one last."""
    sub = mask
    while sub:
        yield sub
        sub = (sub - 1) & mask
    yield 0


def parted(units, price):
    """Least sum of prices over the set partitions of a mask, tried one after the other."""
    if not units:
        return 0.0
    first = units & -units
    return min(
        price(first | sub) + parted(units ^ first ^ sub, price) for sub in subsets(units ^ first)
    )


def least_of(costs, ratio, source):
    """Least cost less ratio per pair over the partitions of one O, one after the other."""
    n, size = costs.shape
    full = size - 1

    def loses(part, lost):
        return sum(costs[i, lost] - ratio * lost.bit_count() for i in range(n) if part >> i & 1)

    def all_outside(part):
        return np.inf if part == full else loses(part, full & ~part)

    def other_sources(part):
        return loses(part, source & ~part)

    if source == full:
        return np.inf
    outside = parted(full & ~source, all_outside)
    if source == 0:
        return outside
    return outside + min(
        parted(out, other_sources) + parted(source ^ out, all_outside)
        for out in subsets(source)
        if out
    )


def minima_of(costs, ratio, blocks=1, searched=None):
    """Minimum of every O, searched in so many blocks."""
    size = costs.shape[1]
    searched = np.ones(size, bool) if searched is None else searched
    out, whole = np.empty(size), set_partition_minima(costs, ratio)
    for begin in range(0, size, size // blocks):
        end = begin + size // blocks
        source_minima(costs, ratio, whole, searched, begin, end, out[begin:end])
    return out


@st.composite
def tables(draw, units):
    """Costs of every cut of every unit: noise, few values, or of how many inputs are lost."""
    n = draw(st.integers(*units))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(("noise", "few", "counts")))
    if kind == "noise":
        costs = rng.normal(draw(st.sampled_from((0.0, 1.0))), 1.0, (n, 1 << n))
    elif kind == "few":
        costs = rng.integers(0, 3, (n, 1 << n)).astype(float)
    else:
        costs = np.tile(rng.random(n + 1)[np.bitwise_count(np.arange(1 << n))], (n, 1))
    costs[:, 0] = 0.0
    return costs


@examples(60)
@given(tables((2, 6)), st.floats(-0.2, 0.2))
def test_minima__are_those_of_each_source_set_alone(costs, ratio):
    expected = [least_of(costs, ratio, source) for source in range(costs.shape[1])]
    np.testing.assert_allclose(minima_of(costs, ratio), expected, rtol=0, atol=1e-12)


def test_minima__are_those_of_each_source_set_alone_in_noise():
    rng = np.random.default_rng(0)
    for _ in range(20):  # so many that each way to part five units is the best one of some O
        costs = rng.normal(0.0, 1.0, (6, 64))
        costs[:, 0] = 0.0
        expected = [least_of(costs, 0.1, source) for source in range(64)]
        np.testing.assert_allclose(minima_of(costs, 0.1), expected, rtol=0, atol=1e-12)


@examples(30)
@given(tables((6, 9)), st.floats(0.0, 0.5), st.sampled_from((2, 8, 64)), st.data())
def test_minima__are_the_same_bits_in_blocks_and_beside_others(costs, ratio, blocks, data):
    whole = minima_of(costs, ratio)
    assert minima_of(costs, ratio, blocks).tobytes() == whole.tobytes()
    seed = data.draw(st.integers(0, 2**32 - 1))
    searched = np.random.default_rng(seed).random(len(whole)) < 0.3
    some = minima_of(costs, ratio, blocks, searched)
    searched[0] = True  # O = 0 is not searched but known
    assert some.tobytes() == np.where(searched, whole, np.inf).tobytes()


@examples(30)
@given(tables((8, 9)))
def test_source_sets_left_out__cost_more_than_the_ratio(costs):
    ratio = max(starting_partition(costs)[0], 0.0)
    left_out = ~candidate_sources(costs, ratio)
    assert (minima_of(costs, ratio)[left_out] > 0.9e-9).all()


@pytest.mark.parametrize("kind", ["dense", "ising"])
def test_source_sets__most_are_left_out_of_noisy_systems(kind):
    some = System.build(*system(kind, 9))
    costs = system_analysis.cut_costs_at(system_analysis.system_inputs(some), 0, is_cause=False)
    assert candidate_sources(costs, starting_partition(costs)[0]).mean() < 0.8


@examples(30)
@given(tables((8, 8)))
def test_minimum__is_the_same_with_every_source_set_searched(costs):
    cost, pairs, ways, key = minimum_partition(costs, 1e-13)
    ratio = max(starting_partition(costs)[0], 0.0)
    while True:
        minima = minima_of(costs, ratio)
        found = optimal_partitions(
            costs, ratio, set_partition_minima(costs, ratio), SUM_TOLERANCE_BITS, minima
        )
        least = minima.min() + ratio * found[0]
        if least <= 1e-13 or minima.min() >= -SUM_TOLERANCE_BITS:
            break
        ratio = least / found[0]
    assert (cost, pairs, ways, key.tolist()) == (least, *found[:2], found[2].tolist())


def analyse(some, ledger=None, engine=None, **options):
    """The system's irreducibility as a recipe, its numbers."""
    recipe = sia(some, IIT4())
    return bits(execute(recipe, ledger or MemoryLedger(), engine or SerialEngine(), **options))


@examples(40)
@given(st.data())
def test_waves__give_the_bits_of_one_search(data):
    case = data.draw(cases(background=data.draw(st.booleans()), kinds=KINDS, units=(2, 5)))
    try:
        some = System.build(case.substrate(), case.state, case.units)
    except UnreachableStateError:
        assume(False)
    at_once = analyse(some)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_stages, "SPLIT_MIN_UNITS", 2)
        assert analyse(some, block_seconds=1e-7) == at_once


@pytest.mark.parametrize("kind", LARGE)
def test_waves__give_the_bits_of_larger_systems(kind, monkeypatch):
    some = System.build(*system(kind, 9))
    at_once = analyse(some)
    monkeypatch.setattr(partition_stages, "SPLIT_MIN_UNITS", 9)
    assert analyse(some, block_seconds=1e-4) == at_once


@pytest.fixture
def gates(monkeypatch):
    """A deterministic system of three candidates that need two ratios, three and one; in waves."""
    monkeypatch.setattr(partition_stages, "SPLIT_MIN_UNITS", 2)
    return System.build(*system("deterministic", 7, seed=1))


@pytest.fixture(scope="module")
def client():
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        yield client


def test_waves__only_candidates_whose_ratio_falls_take_part_in_the_next(gates):
    blocks = {}

    def note(event):
        if isinstance(event, StageOpened):
            blocks[event.stage] = event.blocks

    analyse(gates, observers=[note], block_seconds=1e-9)
    settled = [blocks[f"system/wave-{wave}-settled"] for wave in range(3)]
    assert settled == [3, 2, 1]  # of one candidate each
    assert "system/wave-3" not in blocks


@pytest.mark.parametrize("store", ["memory", "zarr"])
@pytest.mark.parametrize("engine", ["inline", "futures"])
def test_waves__give_the_same_bits_on_every_engine(store, engine, gates, client, tmp_path):
    ledger = MemoryLedger() if store == "memory" else ZarrLedger(open_store(tmp_path / "run.zarr"))
    blocks, run = Blocks(), SerialEngine() if engine == "inline" else DaskEngine(client)
    found = analyse(gates, ledger, run, observers=[blocks], block_seconds=1e-7)
    assert blocks.filled > 30
    again = Blocks()
    assert analyse(gates, ledger, run, observers=[again]) == found
    assert again.filled == 0
    assert found == analyse(gates)


@pytest.mark.parametrize("most", [200, 500, 700])  # within each of the waves
def test_waves__interrupted_go_on_where_they_stopped(most, gates, tmp_path):
    url, first, rest, every = str(tmp_path / "run.zarr"), Blocks(most), Blocks(), Blocks()
    with pytest.raises(KeyboardInterrupt):
        analyse(gates, ZarrLedger(open_store(url)), observers=[first], block_seconds=1e-7)
    resumed = analyse(gates, ZarrLedger(open_store(url)), observers=[rest], block_seconds=1e-7)
    assert resumed == analyse(gates, observers=[every], block_seconds=1e-7)
    assert rest.filled == every.filled - first.filled
