"""Minimum partitions along a linear order, against enumeration and the search over all sets."""

import numpy as np
import pytest

from iitdask.kernels.frontier import minimum_search
from iitdask.kernels.frontier.local_costs import (
    best_interval,
    make_local_costs,
    partition_bits,
)
from iitdask.kernels.frontier.minimum_search import (
    PartitionSearch,
    count_partitions_of_ratio,
    minimum_partition_by_frontier,
)
from iitdask.kernels.frontier.thinned_inputs import thin_inputs, widest_frontier
from iitdask.kernels.iit4.system_witness import inputs_severed_by_key, minimum_partition
from iitdask.kernels.linear_order import narrow_order
from tests.reference import sparse_systems
from tests.reference.sparse_systems import GRAPHS, KINDS

ZERO, BUDGET = 1e-12, 1e8


def drawn(seed, units, kinds=KINDS):
    """Inputs of every unit, and what it loses by the inputs kept, in the state of the network."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(*units))
    name, kind = GRAPHS[seed % len(GRAPHS)], kinds[seed % len(kinds)]
    factors, state = sparse_systems.factors(name, kind, [2] * n, rng)
    target = [int(t[tuple(state[a] for a in r)].argmax()) for r, t in factors]
    bits = [
        sparse_systems.lost_bits(t, [state[a] for a in r], v)
        for (r, t), v in zip(factors, target, strict=True)
    ]
    return [r for r, _ in factors], bits


def along_order(inputs, bits, order=None):
    """The same as arrays along a narrow order: inputs, bits, units."""
    n, most = len(inputs), max(map(len, inputs))
    near = np.zeros(n, np.int64)
    for i, read in enumerate(inputs):
        for a in read:
            near[a] |= (1 << i) & ~(1 << a)
            near[i] |= (1 << a) & ~(1 << i)
    units = narrow_order(near, 5.0) if order is None else np.array(order)
    place = np.argsort(units)
    places, lost = np.full((n, most), -1), np.zeros((n, 1 << most))
    for t, i in enumerate(units):
        read = [int(place[a]) for a in inputs[i]]
        axes = np.argsort(read)
        places[t, : len(read)] = np.sort(read)
        kept = np.arange(1 << len(read))
        old = sum((kept >> k & 1) << int(a) for k, a in enumerate(axes))
        lost[t] = np.tile(bits[i][old], 1 << most - len(read))
    return places, lost, units


def severed_pairs(key, n):
    lost = inputs_severed_by_key(key, n)
    return frozenset((a, i) for a in range(n) for i in range(n) if lost[i] >> a & 1)


def cut_costs(inputs, bits):
    """What each unit loses with each set of units severed, (n, 2**n)."""
    cuts = np.arange(1 << len(inputs))
    kept = [sum((cuts >> j & 1 ^ 1) << a for a, j in enumerate(read)) for read in inputs]
    return np.stack([b[k] for b, k in zip(bits, kept, strict=True)])


@pytest.mark.parametrize("seed", range(30))
def test_minimum__is_that_of_all_partitions(seed):
    inputs, bits = drawn(seed, (2, 6))
    cost, pairs, ways, named = sparse_systems.minimum(inputs, bits)
    found = minimum_partition_by_frontier(*along_order(inputs, bits), ZERO, BUDGET)
    assert found.is_proven
    if cost <= ZERO:
        assert found.cost <= ZERO
        return
    assert found.cost == pytest.approx(cost, abs=1e-12)
    assert (found.pairs, found.ways) == (pairs, ways)
    assert severed_pairs(found.key, len(inputs)) == named


def same_as_all_sets(seed, units):
    inputs, bits = drawn(seed, units)
    cost, pairs, ways, key = minimum_partition(cut_costs(inputs, bits), ZERO)
    found = minimum_partition_by_frontier(*along_order(inputs, bits), ZERO, BUDGET)
    if cost <= ZERO:
        assert found.cost <= ZERO
        return
    assert found.cost == pytest.approx(cost, abs=1e-11)
    assert (found.pairs, found.ways, found.key.tolist()) == (pairs, ways, key.tolist())


@pytest.mark.parametrize("seed", range(60))
def test_minimum__is_that_of_the_search_over_all_sets(seed):
    same_as_all_sets(seed, (5, 10))


def test_guides_and_sweeps__forced_from_width_one_on_change_nothing(monkeypatch):
    monkeypatch.setattr(minimum_search, "FIRST_GUIDE_WIDTH", 1)
    monkeypatch.setattr(minimum_search, "DESCENT_MIN_WIDTH", 1)
    monkeypatch.setattr(minimum_search, "BEAMS", (2, 5))
    for seed in range(20):
        same_as_all_sets(seed, (4, 9))


def test_sweeps__that_follow_a_guide_alone_change_nothing(monkeypatch):
    built = minimum_search.build_graph

    def build_guides_only(costs, pruning, is_strict, limit, budget):
        if is_strict and len(pruning.guide.source):
            raise minimum_search.BudgetError(0.0)
        return built(costs, pruning, is_strict, limit, budget)

    monkeypatch.setattr(minimum_search, "build_graph", build_guides_only)
    monkeypatch.setattr(minimum_search, "FIRST_GUIDE_WIDTH", 1)
    for seed in range(20):
        same_as_all_sets(seed, (4, 9))


@pytest.mark.parametrize("seed", range(5))
def test_minimum__in_a_bad_order_is_the_same(seed):
    inputs, bits = drawn(seed, (5, 8))
    order = np.random.default_rng(seed).permutation(len(inputs))
    one = minimum_partition_by_frontier(*along_order(inputs, bits), ZERO, BUDGET)
    other = minimum_partition_by_frontier(*along_order(inputs, bits, order), ZERO, BUDGET)
    if one.cost <= ZERO:
        assert other.cost <= ZERO
        return
    assert other.cost == pytest.approx(one.cost, abs=1e-12)
    assert (other[1:3], other.key.tolist()) == (one[1:3], one.key.tolist())


def test_budget__that_is_too_small_proves_nothing():
    inputs, bits = drawn(3, (9, 10))  # a ferromagnet
    found = minimum_partition_by_frontier(*along_order(inputs, bits), ZERO, 100)
    assert not found.is_proven
    assert found.cost > 0


@pytest.mark.parametrize("seed", range(6))
def test_partitions_of_a_ratio__are_counted(seed):
    inputs, bits = drawn(seed, (4, 7), ("ferromagnet", "parity", "copy"))
    arrays = along_order(inputs, bits)
    found = minimum_partition_by_frontier(*arrays, ZERO, BUDGET)
    if found.cost > ZERO:
        ratio = found.cost / found.pairs
        assert count_partitions_of_ratio(*arrays, ratio, found.pairs, BUDGET) == found.ways
        assert count_partitions_of_ratio(*arrays, ratio / 2, found.pairs, BUDGET) == 0


@pytest.mark.parametrize("seed", range(6))
def test_thinned_inputs__lose_no_more_by_any_partition(seed):
    rng = np.random.default_rng(seed)
    costs = make_local_costs(*along_order(*drawn(seed, (6, 8)))[:2])
    for width in range(widest_frontier(costs.last)[0] - 1, 0, -1):
        thin = thin_inputs(costs, width)
        assert widest_frontier(thin.last)[0] <= width
        for _ in range(20):
            part, direction = rng.integers(0, 3, (2, len(costs.last) + 1))
            less, pairs = partition_bits(thin, part, direction)
            bits, same_pairs = partition_bits(costs, part, direction)
            assert less <= bits + 1e-12
            assert pairs == same_pairs


def test_least_ratio__of_a_search_that_does_not_end_is_a_bound():
    budgets, certified = (30.0, 300.0, 1e3, 3e3, 1e5), 0
    for seed in range(200):
        given = along_order(*drawn(seed, (5, 9), ("ferromagnet", "noisy gates", "noisy")))
        exact = minimum_partition_by_frontier(*given, ZERO, BUDGET)
        least, most = 0.0, np.inf
        for budget in budgets:
            found = minimum_partition_by_frontier(*given, ZERO, budget, is_bounded=True)
            ratio = found.cost / found.pairs
            if exact.cost <= ZERO:
                assert found.cost <= ZERO or found.least_ratio == 0.0
                continue
            slack, true = 1e-12, exact.cost / exact.pairs
            assert least - slack <= found.least_ratio <= true + slack
            assert true - slack <= ratio <= most + slack
            certified += not found.is_proven and found.least_ratio > 0.0
            least, most = found.least_ratio, ratio
    assert certified > 30


def test_descents__from_many_intervals_find_better_partitions_than_from_the_best_one():
    better = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        factors, state = sparse_systems.factors("random", "ferromagnet", [2] * 24, rng)
        bits = [
            sparse_systems.lost_bits(t, [state[a] for a in r], state[i])
            for i, (r, t) in enumerate(factors)
        ]
        places, lost, units = along_order([r for r, _ in factors], bits)
        searches = [PartitionSearch(make_local_costs(places, lost), units, BUDGET) for _ in "ab"]
        for search in searches:
            part, direction = np.zeros((2, 25), np.int64)
            best_interval(search.costs, part, direction)
            search.offer(part, direction)
        searches[0]._descend()
        searches[1]._descend_from_intervals()
        for search in searches:
            found = partition_bits(search.costs, search.part, search.direction)
            assert found == (search.bits, search.pairs)
        assert searches[1].price <= searches[0].price
        better += searches[1].price < searches[0].price * 0.999
    assert better > 3
