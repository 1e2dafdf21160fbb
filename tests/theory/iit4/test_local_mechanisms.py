"""The search among connected pairs gives what the search over all masks gives."""

import math
import os
import signal

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import assume, given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.cluster.local import local
from iitdask.errors import InputError, UnreachableStateError
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.estimate import estimate_recipe
from iitdask.run.events import BlocksFilled
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.iit4 import local_details, local_mechanisms, search_path
from iitdask.theory.iit4.recipe import ces, sia
from iitdask.theory.iit4.search_path import _count_purviews, choose_search
from iitdask.theory.options import IIT4, IIT42026
from tests.runs import Blocks, bits
from tests.strategies import KINDS, cases, examples, gate

EXACT = ("mechanism_units", "purview", "state", "n_tied_purviews", "n_tied_states")
RINGS = {"rule110": 110, "rule90": 90}


def unfold(system, search="sparse", ledger=None, engine=None, theory=IIT4, ties="reference", **how):
    recipe = ces(system, theory(search=search, ties=ties))
    return execute(recipe, ledger or MemoryLedger(), engine or SerialEngine(), **how)


def same_structure(ours, theirs):
    """Distinctions with all ties, sums, sensitivity and repertoires: phi to 1e-12."""
    one, two = (tree["distinctions"].to_dataset() for tree in (ours, theirs))
    assert set(one.data_vars) == set(two.data_vars)
    for name in one.data_vars:
        if name.startswith(EXACT):
            np.testing.assert_array_equal(one[name].values, two[name].values, name)
        elif one[name].dtype.kind == "f":  # any of tied partitions may be named
            np.testing.assert_allclose(one[name].values, two[name].values, 1e-12, 1e-12)
    for name in ("n_irreducible_mechanisms", "n_tied_mechanisms", "tie_sensitive"):
        assert ours.attrs[name] == theirs.attrs[name]
    assert ours.attrs["phi_tie_sensitive"] == theirs.attrs["phi_tie_sensitive"]
    assert ours.attrs["big_phi"] == pytest.approx(theirs.attrs["big_phi"], rel=1e-11, abs=1e-12)
    assert ours["relations"].attrs["count"] == theirs["relations"].attrs["count"]
    assert ("repertoires" in ours.children) == ("repertoires" in theirs.children)
    if "repertoires" in ours.children:
        for name, values in ours["repertoires"].to_dataset().data_vars.items():
            np.testing.assert_allclose(values, theirs["repertoires"][name], 1e-12, 1e-12)


def compare(system, **options):
    ours, theirs = unfold(system, **options), unfold(system, "dense", **options)
    same_structure(ours, theirs)
    assert ours.attrs["search"]["path"] == "sparse"
    assert theirs.attrs["search"]["path"] == "dense"
    return ours


@pytest.mark.parametrize("ties", ["reference", "canonical"])
@examples(60)
@given(st.data())
def test_random_systems__have_the_same_structure(ties, data):
    case = data.draw(cases(kinds=KINDS, units=(1, 5), background=data.draw(st.booleans())))
    try:
        system = System.build(case.substrate(), case.state, case.units)
    except UnreachableStateError:
        assume(False)
    compare(system, ties=ties, theory=data.draw(st.sampled_from((IIT4, IIT42026))))


def network(rng, n, kind):
    """A sparse network: lines, rings, random inputs; noisy, Boolean, of three values, declared."""
    shape = ("line", "ring", "random")[int(rng.integers(3))]
    if shape == "random":
        inputs = [sorted(rng.choice(n, int(rng.integers(1, 4)), False).tolist()) for _ in range(n)]
    else:
        near = [{j - 1, j, j + 1} for j in range(n)]
        around = [{k % n for k in each} for each in near]
        inputs = [
            sorted(a if shape == "ring" else e & set(range(n)))
            for e, a in zip(near, around, strict=True)
        ]
    levels = [3 if kind == "ternary" and rng.random() < 0.3 else 2 for _ in range(n)]
    units = []
    for j, parents in enumerate(inputs):
        table = rng.dirichlet(np.full(levels[j], 0.7), [levels[i] for i in parents])
        if kind == "boolean":
            table = np.eye(2)[rng.integers(0, 2, table.shape[:-1])]
            table = table * 0.9 + 0.05 if rng.random() < 0.3 else table
        units.append((parents, table))
    edges = np.zeros((n, n), bool)
    for j, parents in enumerate(inputs):
        edges[parents, j] = True
    if kind == "declared":
        edges |= rng.random((n, n)) < 0.1
    substrate = Substrate.from_factors(units, connectivity=edges)
    past = [int(rng.integers(k)) for k in levels]
    rows = (table[tuple(past[i] for i in parents)] for parents, table in units)
    return substrate, tuple(int(rng.choice(len(row), p=row)) for row in rows)


def drawn_system(number, most):
    rng = np.random.default_rng(number)
    kind = ("noisy", "boolean", "ternary", "declared")[number % 4]
    n = int(rng.integers(4, (most if kind != "ternary" else min(most, 8)) + 1))
    substrate, state = network(rng, n, kind)
    outside = int(rng.integers(1, 3)) if number % 3 == 0 and n > 5 else 0
    units = sorted(rng.choice(n, n - outside, replace=False).tolist())
    try:
        return System.build(substrate, state, units)
    except UnreachableStateError:
        return System.build(substrate, state)


@pytest.mark.parametrize("number", range(12))
def test_sparse_networks__have_the_same_structure(number):
    compare(drawn_system(number, 6), ties=("reference", "canonical")[number % 2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [*range(4), *(pytest.param(k, marks=pytest.mark.exhaustive) for k in range(4, 20))]
)
def test_larger_sparse_networks__have_the_same_structure(block):
    for number in range(20 * block + 100, 20 * block + 120):
        system = drawn_system(number, 11)
        if number % 2 and system.n > 7:  # the published order of ties takes long
            compare(system, ties="canonical")
        else:
            compare(system, ties=("canonical", "reference")[system.n < 8])


def ring(n, rule):
    """An elementary cellular automaton in a state that one step leads to."""
    table = np.array([[[[1 - (rule >> (4 * a + 2 * b + c) & 1), rule >> (4 * a + 2 * b + c) & 1]
                        for c in (0, 1)] for b in (0, 1)] for a in (0, 1)], float)  # fmt: skip
    units = [([(j - 1) % n, j, (j + 1) % n], table) for j in range(n)]
    state = np.random.default_rng(n).integers(0, 2, n)
    before = (state[(np.arange(n) - 1) % n], state, state[(np.arange(n) + 1) % n])
    return System.build(
        Substrate.from_factors(units),
        tuple((rule >> (4 * before[0] + 2 * before[1] + before[2]) & 1).tolist()),
    )


def test_ties__that_a_cell_has_no_room_for_are_all_found(monkeypatch):
    system = ring(6, 90)
    whole = compare(system)
    for module in (local_mechanisms, local_details):
        monkeypatch.setattr(module, "LISTED_TIES", 1)
        monkeypatch.setattr(module, "FIRST_CAPACITY", 1)
    assert bits(unfold(system)) == bits(whole)


@pytest.fixture(scope="module")
def client():
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize("store", ["memory", "zarr"])
@pytest.mark.parametrize("engine", ["inline", "futures"])
def test_blocks__give_the_same_bits_on_every_engine(store, engine, client, tmp_path):
    system, whole = ring(6, 110), unfold(ring(6, 110))
    ledger = MemoryLedger() if store == "memory" else ZarrLedger(open_store(tmp_path / "run.zarr"))
    blocks, run = Blocks(), SerialEngine() if engine == "inline" else DaskEngine(client)
    how = {"observers": [blocks], "block_seconds": 1e-5}
    assert bits(unfold(system, "sparse", ledger, run, **how)) == bits(whole)
    assert blocks.filled > 30
    again = Blocks()
    assert bits(unfold(system, "sparse", ledger, run, observers=[again])) == bits(whole)
    assert again.filled == 0


@pytest.mark.parametrize("most", [7, 30])
def test_interrupted__goes_on_where_it_stopped(most, tmp_path):
    system, url = ring(6, 110), str(tmp_path / "run.zarr")
    first, rest, every = Blocks(most), Blocks(), Blocks()
    with pytest.raises(KeyboardInterrupt):
        unfold(system, "sparse", ZarrLedger(open_store(url)), observers=[first], block_seconds=1e-5)
    ledger = ZarrLedger(open_store(url))
    tree = unfold(system, "sparse", ledger, observers=[rest], block_seconds=1e-5)
    assert bits(tree) == bits(unfold(system, observers=[every], block_seconds=1e-5))
    assert rest.filled == every.filled - first.filled


class KillWorker:
    """Kills another process when a stage has filled its first blocks; counts those after."""

    def __init__(self, stage, pid):
        self.stage, self.pid, self.is_sent, self.later = stage, pid, False, 0

    def __call__(self, event):
        if isinstance(event, BlocksFilled) and event.stage == self.stage:
            self.later += event.blocks if self.is_sent else 0
            if not self.is_sent:
                os.kill(self.pid, signal.SIGKILL)
                self.is_sent = True


@pytest.mark.slow
@pytest.mark.cluster
def test_worker_killed_in_mid_run__changes_no_bit(tmp_path):
    system = ring(9, 110)
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    with local(2) as workers:
        workers.wait_for_workers(2)
        first, _ = workers.run(os.getpid).values()
        kill = KillWorker("sparse/mice", first)
        run = DaskEngine(workers)
        tree = unfold(system, "sparse", ledger, run, observers=[kill], block_seconds=1e-3)
        assert kill.later > 0
        workers.wait_for_workers(2)
        assert first not in workers.run(os.getpid).values()
    assert bits(tree) == bits(unfold(system))


@pytest.mark.parametrize("shape", ["random", "ring"])
def test_renamed__units_of_a_system_of_sixteen_have_the_same_structure(shape):
    """Canonical ties: nothing depends on how the units are numbered, nor on their linear order."""
    n, rng = 16, np.random.default_rng(16)
    inputs = [[(i - 1) % n, (i + 1) % n] for i in range(n)]
    if shape == "random":
        inputs = [sorted({(i - 1) % n, int(rng.integers(n))}) for i in range(n)]
    tables = [rng.dirichlet((1, 1), (2,) * len(read)) for read in inputs]
    state = rng.integers(0, 2, n)

    def found(order):
        """Unit k is called ``order[k]``."""
        units = {}
        for unit, (read, table) in enumerate(zip(inputs, tables, strict=True)):
            named = [order[a] for a in read]
            units[order[unit]] = (sorted(named), table.transpose([*np.argsort(named), len(named)]))
        substrate = Substrate.from_factors([units[i] for i in range(n)])
        now = tuple(int(state[order.index(i)]) for i in range(n))
        tree = unfold(System.build(substrate, now), ties="canonical")
        data, rows = tree["distinctions"].to_dataset(), {}
        for k in range(data.sizes["mechanism"]):
            row = data.isel(mechanism=k)
            names = ("mechanism_units", "purview_cause", "purview_effect")
            sets = [frozenset(u for u in range(n) if row[name][order[u]]) for name in names]
            rows[sets[0]] = (*sets[1:], float(row["phi"]), float(row["fold"]))
        return tree, rows

    one, rows = found(list(range(n)))
    two, others = found(rng.permutation(n).tolist())
    assert rows.keys() == others.keys()
    assert len(rows) > 5
    for mechanism, (cause, effect, *numbers) in rows.items():
        assert (cause, effect) == others[mechanism][:2]
        np.testing.assert_allclose(numbers, others[mechanism][2:], 1e-11)
    assert float(one["system"]["phi"]) == pytest.approx(float(two["system"]["phi"]), abs=1e-12)
    assert one["relations"].attrs["count"] == two["relations"].attrs["count"]


def test_choice__counts_pairs_from_nine_units_on():
    assert choose_search(ring(8, 110), IIT4()) is None
    assert choose_search(ring(9, 110), IIT4()) is None  # about as much work either way
    assert choose_search(ring(10, 110), IIT4()) is not None
    assert choose_search(ring(12, 110), IIT4(search="dense")) is None
    search = choose_search(ring(4, 110), IIT42026(search="sparse"))
    times = np.bincount(
        search.orbits.which
    )  # how many mechanisms each of those searched stands for
    one = [_count_purviews(ring(4, 110), mask[None], math.inf) for mask in search.orbits[0]]
    assert search.pairs == sum(int(each.purviews[0]) for each in one) == 54
    assert sum(int(each.purviews[0]) * k for each, k in zip(one, times, strict=True)) == 159


def test_choice__is_made_once_of_a_system(monkeypatch):
    system = ring(10, 110)
    first = choose_search(system, IIT4())
    monkeypatch.setattr(search_path, "connected_mechanisms", None)
    assert choose_search(system, IIT4(ties="canonical")) is first


def test_counts__end_where_they_are_many_or_decide(monkeypatch):
    system = ring(12, 54)
    mechanisms = choose_search(system, IIT4(search="sparse")).mechanisms
    every = _count_purviews(system, mechanisms, math.inf)
    assert len(every.positions) == search_path.SAMPLED_MECHANISMS
    few = _count_purviews(system, mechanisms, 1.0)
    assert len(few.positions) == len(every.positions) / search_path.SAMPLE_PARTS
    assert few.purviews.tolist() == every.purviews[:: search_path.SAMPLE_PARTS].tolist()
    monkeypatch.setattr(search_path, "COUNTED_PAIRS", 10)
    assert (
        _count_purviews(system, mechanisms, math.inf).positions.tolist() == few.positions.tolist()
    )


def test_sparse__is_refused_where_a_unit_has_too_many_inputs():
    levels = (2,) * 9
    factors = [gate(levels, list(range(9)), "majority")] * 9
    system = System.build(Substrate.from_tpm(factors), (0,) * 9)
    assert choose_search(system, IIT4()) is None
    with pytest.raises(InputError, match="search 'sparse': expected at most 8 inputs"):
        choose_search(system, IIT4(search="sparse"))


@pytest.mark.parametrize("search", ["auto", "sparse", "dense"])
def test_systems__of_more_units_than_a_mask_holds_are_refused(search):
    system, options = ring(64, 110), IIT4(search=search)
    with pytest.raises(InputError, match="units: expected a system of at most 62, got 64"):
        choose_search(system, options)
    with pytest.raises(InputError, match="at most 62"):
        next(sia(system, options))


def test_estimate__samples_the_mechanisms():
    known = estimate_recipe(ces(ring(7, 110), IIT4(search="sparse")), seconds=0.05)
    assert known.complete
    assert {"sparse/mice", "sparse/details"} <= {stage.name for stage in known.stages}


def test_ces__takes_the_option_by_name():
    substrate, state = iit.examples.load("basic"), iit.examples.state("basic")
    tree = iit.ces(substrate, state, theory={"name": "iit4", "search": "sparse"})
    assert tree.attrs["search_option"] == "sparse"
    assert tree.attrs["search"]["path"] == "sparse"
    same_structure(tree, iit.ces(substrate, state))
