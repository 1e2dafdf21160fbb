"""Narrow linear orders of units, against counting what is left open."""

from itertools import permutations

import numpy as np
import pytest

from iitdask.kernels.linear_order import frontier_width, narrow_order


def widths(order, neighbours):
    """Units taken up with neighbours to come, after each step."""
    return [
        sum(1 for u in order[: t + 1] if any(neighbours[u] >> v & 1 for v in order[t + 1 :]))
        for t in range(len(order))
    ]


def random_graph(rng, n):
    cm = rng.random((n, n)) < 0.35
    cm = (cm | cm.T) & ~np.eye(n, dtype=bool)
    return (cm * (1 << np.arange(n))).sum(axis=1)


@pytest.mark.parametrize("seed", range(12))
def test_order__is_a_permutation_near_the_best(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    neighbours = random_graph(rng, n)
    order = narrow_order(neighbours, 5.0).tolist()
    assert sorted(order) == list(range(n))
    cost = sum(5.0**w for w in widths(order, neighbours))
    best = min(sum(5.0**w for w in widths(p, neighbours)) for p in permutations(range(n)))
    assert cost <= 1.2 * best
    assert frontier_width(np.array(order), neighbours) == max(widths(order, neighbours))


def test_order__of_rings_lines_and_grids_is_as_narrow_as_can_be():
    def masks(n, near):
        return np.array([sum(1 << j for j in range(n) if near(i, j)) for i in range(n)])

    ring = masks(62, lambda i, j: abs(i - j) in (1, 61))
    line = masks(62, lambda i, j: abs(i - j) == 1)
    grid = masks(40, lambda i, j: abs(i % 4 - j % 4) + abs(i // 4 - j // 4) == 1)
    for neighbours, width in ((ring, 2), (line, 1), (grid, 4)):
        assert frontier_width(narrow_order(neighbours, 5.0), neighbours) == width


def test_order__is_the_same_every_time():
    neighbours = random_graph(np.random.default_rng(3), 20)
    assert (narrow_order(neighbours, 5.0) == narrow_order(neighbours, 5.0)).all()
