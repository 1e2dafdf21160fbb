"""Pairs of a cause and an effect state, against plain Python."""

import numpy as np
import pytest

from iitdask.kernels.iit4.state_pair import (
    StateMinimum,
    count_common_minima,
    describe_state_pair,
    select_state_pair,
    state_pair_phi,
    tied_state_pairs,
)
from iitdask.kernels.iit4.system_phi import DirectionMinima, direction_minima
from tests.kernels.iit4.test_system_phi import severed_sets


@pytest.mark.parametrize(
    ("cause", "effect", "expected"),
    [
        ((0.0, 1), (0.5, 2), (0.0, True, False)),
        ((0.5, 2), (1e-14, 2), (0.0, False, True)),
        ((0.4, 2), (0.9, 3), (0.4, True, False)),
        ((0.8, 2), (0.9, 3), (0.9, False, True)),
        ((0.4, 2), (0.6, 3), (0.6, False, True)),  # equal ratios: what severs more
        ((0.6, 3), (0.6, 3), (0.6, True, True)),
    ],
)
def test_phi_of_a_pair__is_that_of_the_smaller_ratio(cause, effect, expected):
    assert state_pair_phi(*cause, *effect) == expected


def minima(rng, count):
    """Minima of a direction, some equal and some zero."""
    return DirectionMinima(
        cost=rng.choice([0.0, 0.25, 0.5], count),
        pairs=rng.choice([1, 2, 4], count),
        ways=np.ones(count),
        key=np.zeros((count, 1), np.uint64),
        selectivity=rng.choice([0.5, 1.0], count),
    )


@pytest.mark.parametrize("seed", range(20))
def test_pair__is_the_first_by_rank_of_those_with_the_largest_phi(seed):
    rng = np.random.default_rng(seed)
    cause, effect = minima(rng, int(rng.integers(1, 5))), minima(rng, int(rng.integers(1, 5)))
    phis = {}
    for k, c in enumerate(zip(cause.cost * cause.selectivity, cause.pairs, strict=True)):
        for j, e in enumerate(zip(effect.cost * effect.selectivity, effect.pairs, strict=True)):
            phis[k, j] = state_pair_phi(*c, *e)[0]
    tied = [pair for pair, phi in phis.items() if phi == max(phis.values())]
    assert [tuple(pair) for pair in tied_state_pairs(cause, effect).tolist()] == tied
    ranks = [rng.integers(0, 2, len(side.cost)) for side in (cause, effect)]
    k, j, n_ties = select_state_pair(cause, effect, *ranks)
    assert (k, j) == min(tied, key=lambda pair: (ranks[0][pair[0]], ranks[1][pair[1]]))
    assert n_ties == len(tied)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_partition__is_named_among_those_that_attain_the_minimum(n, seed):
    rng = np.random.default_rng(seed)
    ones = rng.choice([0.1, 0.5, 0.9], (1 << n, n)) if seed % 2 else rng.random((1 << n, n))
    table = np.stack([1 - ones, ones], axis=2).reshape(1 << n, 2 * n)
    levels, current, code = np.full(n, 2), np.zeros(n, np.int64), np.zeros(1, np.int64)
    sides, costs = [], []
    for is_cause, weight in ((True, 0.5), (False, 0.25)):
        found, kept, _ = direction_minima(
            table, levels, current, code, np.array([weight]), is_cause, True
        )
        sides.append(StateMinimum(*(field[0] for field in found)))
        costs.append(kept[0])
    named = describe_state_pair(*sides, *costs)
    n_ties = named.n_tied_partitions
    if named.are_sides_tied:
        n_ties -= count_common_minima(*sides, *costs)
    phi, *decides = state_pair_phi(*(x for side in sides for x in (side[0] * side[4], side[1])))
    assert named.phi == phi
    options = severed_sets(n) if n > 1 else [(1,)]
    assert tuple(named.severed.tolist()) in options
    assert named.n_severed == sum(int(mask).bit_count() for mask in named.severed)
    values = {
        lost: [
            side.selectivity * sum(g[i, mask] for i, mask in enumerate(lost))
            for side, g in zip(sides, costs, strict=True)
        ]
        for lost in options
    }
    cause, effect = values[tuple(named.severed.tolist())]
    assert named.phi_cause == pytest.approx(max(0.0, cause), abs=1e-12)
    assert named.phi_effect == pytest.approx(max(0.0, effect), abs=1e-12)
    if phi == 0.0:
        assert (named.normalized, named.n_tied_partitions) == (0.0, 0.0)
        return
    attained = {
        lost
        for lost, both in values.items()
        for value, side, decided in zip(both, sides, decides, strict=True)
        if decided
        and sum(map(int.bit_count, lost)) == side.pairs
        and value == pytest.approx(phi, abs=1e-11)
    }
    assert n_ties == len(attained)
    assert tuple(named.severed.tolist()) in attained
    assert named.normalized == phi / named.n_severed
