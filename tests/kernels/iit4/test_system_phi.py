"""Specified states and minimum partitions of a system, against loops over states and partitions."""

from itertools import product

import numpy as np
import pytest

from iitdask.kernels.iit4.system_phi import (
    direction_minima,
    fill_state_probabilities,
    specified_states,
    state_cut_costs,
)

LEVELS = [(2, 2), (2, 2, 2), (3, 2), (2, 3, 2)]
NEAR = {"rtol": 1e-12, "atol": 1e-14}


def states_of(levels):
    """All states, the first unit fastest."""
    return [digits[::-1] for digits in product(*map(range, reversed(levels)))]


@pytest.fixture(params=[(levels, seed) for levels in LEVELS for seed in range(2)], ids=str)
def system(request):
    """Levels, effect table, cause table and current state of a random system."""
    levels, seed = request.param
    rng = np.random.default_rng(seed)
    states = states_of(levels)
    effect, cause = (
        np.hstack([rng.dirichlet(np.ones(k), len(states)) for k in levels]) for _ in range(2)
    )
    return levels, effect, cause, np.array([rng.integers(k) for k in levels])


def probability(row, levels, state):
    """P(state) given a row of marginals of all units."""
    columns = np.concatenate([[0], np.cumsum(levels)])
    return np.prod([row[columns[i] + value] for i, value in enumerate(state)])


def test_state_probabilities__are_products_of_marginals(system):
    levels, effect, cause, current = system
    states = states_of(levels)
    forward, mean = np.empty((2, len(states))), np.empty(len(states))
    code = fill_state_probabilities(effect, cause, np.array(levels), current, forward, mean)
    assert states[code] == tuple(current)
    likelihood = [probability(row, levels, current) for row in cause]
    np.testing.assert_allclose(forward[0], likelihood, **NEAR)
    following = [[probability(row, levels, state) for state in states] for row in effect]
    np.testing.assert_allclose(forward[1], following[code], **NEAR)
    np.testing.assert_allclose(mean, np.sum(following, axis=0), **NEAR)


def test_specified_states__keep_all_that_tie():
    likelihood = np.array([0.2, 0.4, 0.4 * (1 - 1e-13), 0.4 * (1 - 1e-11)])
    information = np.array([0.5 - 1e-15, -1.0, 0.5, 0.5 - 1e-9])
    causes, effects = specified_states(likelihood, information)
    assert causes.tolist() == [1, 2]
    assert effects.tolist() == [0, 2]
    _, effects = specified_states(likelihood, np.array([0.0, 1e-16, -1e-3, 0.0]))
    assert effects.tolist() == [0, 1, 3]  # rounding of nothing


def naive_costs(table, levels, source, target):
    """Bits each unit loses with each set of severed inputs."""
    n, states = len(levels), states_of(levels)
    columns = np.concatenate([[0], np.cumsum(levels)])
    out = np.zeros((n, 1 << n))
    for cut in range(1 << n):
        agree = [
            x
            for x, state in enumerate(states)
            if all(cut >> j & 1 or state[j] == source[j] for j in range(n))
        ]
        out[:, cut] = -np.log2(table[agree].mean(axis=0)[columns[:n] + target])
    return out[:, :1] * -1 + out


def test_cut_costs__compare_with_severed_inputs_averaged_out(system):
    levels, effect, cause, current = system
    for code, state in enumerate(states_of(levels)):
        found = state_cut_costs(effect, np.array(levels), current, code, False)
        np.testing.assert_allclose(found, naive_costs(effect, levels, current, state), **NEAR)
        found = state_cut_costs(cause, np.array(levels), current, code, True)
        np.testing.assert_allclose(found, naive_costs(cause, levels, state, current), **NEAR)


def set_partitions(items):
    """Partitions of a list into blocks."""
    if not items:
        yield []
        return
    for rest in set_partitions(items[1:]):
        yield [[items[0]], *rest]
        for k in range(len(rest)):
            yield [*rest[:k], [items[0], *rest[k]], *rest[k + 1 :]]


def severed_sets(n):
    """Inputs that each unit loses, for every directed partition into two blocks or more."""
    found = set()
    for blocks in set_partitions(list(range(n))):
        for ways in product(("in", "out", "both"), repeat=len(blocks) if len(blocks) > 1 else 0):
            of = (
                {unit: (k, ways[k]) for k, block in enumerate(blocks) for unit in block}
                if ways
                else {}
            )
            lost = tuple(
                sum(
                    1 << a
                    for a in range(n)
                    if of and of[a][0] != of[b][0] and (of[a][1] != "in" or of[b][1] != "out")
                )
                for b in range(n)
            )
            found.add(lost)
    return sorted(lost for lost in found if any(lost))


def test_severed_sets__are_as_many_as_the_paper_counts():
    assert [len(severed_sets(n)) for n in (2, 3, 4)] == [3, 22, 150]


@pytest.mark.parametrize("is_cause", [True, False])
def test_minima__are_those_of_all_directed_partitions(system, is_cause):
    levels, effect, cause, current = system
    n, table = len(levels), cause if is_cause else effect
    codes = np.arange(len(states_of(levels)))
    weights = np.linspace(0.1, 0.9, len(codes))
    given = (table, np.array(levels), current, codes, weights, is_cause)
    found, costs, _ = direction_minima(*given, True)
    unnamed, none, is_shown = direction_minima(*given, False)
    assert none.shape == (0, n, 1 << n)
    np.testing.assert_array_equal(unnamed.cost, found.cost)
    assert not is_shown or not found.cost.any()
    for k in codes:
        options = [
            (sum(costs[k, i, lost[i]] for i in range(n)), sum(map(int.bit_count, lost)))
            for lost in severed_sets(n)
        ]
        least = min(cost / pairs for cost, pairs in options)
        expected = max(cost for cost, pairs in options if cost / pairs <= least + 1e-12)
        if expected * weights[k] <= 1e-13:
            assert found.cost[k] == 0.0
            continue
        tied = [pairs for cost, pairs in options if cost / pairs <= least + 1e-12]
        assert found.cost[k] == pytest.approx(expected, abs=1e-12)
        assert found.pairs[k] == max(tied)
        assert found.ways[k] == tied.count(max(tied))


def test_equal_states__are_searched_once_with_the_same_answer():
    copies = np.array([[0.9, 0.1, 0.2, 0.8]] * 2 + [[0.1, 0.9, 0.7, 0.3]] * 2)
    levels, current, codes = np.array([2, 2]), np.array([0, 0]), np.array([0, 0, 3])
    found, costs, _ = direction_minima(
        copies, levels, current, codes, np.array([0.3, 0.3, 0.3]), False, True
    )
    for field in found:
        np.testing.assert_array_equal(field[0], field[1])
    np.testing.assert_array_equal(costs[0], costs[1])
    assert (costs[0] != costs[2]).any()


def test_single_unit__has_one_partition():
    table, levels, current = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([2]), np.array([0])
    found, costs, is_shown = direction_minima(
        table, levels, current, np.array([0]), np.array([0.8]), False, True
    )
    assert found.cost[0] == costs[0, 0, 1] == pytest.approx(np.log2(0.8 / 0.55))
    assert (found.pairs[0], found.ways[0], found.key[0, 0]) == (1, 1.0, 1 << 63)
    assert not is_shown
