"""Connected mechanisms and their purviews, against a look at every mask."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from iitdask.kernels.linear_order import greedy_order
from iitdask.kernels.sparse.connected_sets import connected_sets, count_purviews


def random_graph(rng, n, density):
    cm = np.triu(rng.random((n, n)) < density, 1)
    return cm | cm.T


def is_connected(units, graph):
    seen, new = {units[0]}, [units[0]]
    while new:
        new = [j for i in new for j in units if graph[i, j] and j not in seen]
        seen.update(new)
    return len(seen) == len(units)


def masks_of(graph):
    return (graph @ (1 << np.arange(len(graph)))).astype(np.int64)


@pytest.mark.parametrize("seed", range(6))
def test_connected_sets__are_those_connected_in_both_graphs(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 8))
    one, two = (random_graph(rng, n, rng.uniform(0.2, 0.7)) for _ in range(2))
    wanted = [
        sum(1 << i for i in units)
        for size in range(1, n + 1)
        for units in combinations(range(n), size)
        if is_connected(units, one) and is_connected(units, two)
    ]
    found = connected_sets(np.stack([masks_of(one), masks_of(two)]), 1 << 10)
    assert found.tolist() == sorted(wanted)


def test_connected_sets__stop_beyond_the_limit():
    all_to_all = masks_of(~np.eye(8, dtype=bool))
    assert len(connected_sets(np.stack([all_to_all, all_to_all]), 100)) == 101


def is_admissible(mechanism, purview, cm):
    """Section 6.3 for effects: no empty row or column, one component."""
    part = cm[np.ix_(mechanism, purview)]
    if not part.any(axis=0).all() or not part.any(axis=1).all():
        return False
    if min(part.shape) == 1:
        return True
    rows, columns = {0}, set()
    while True:
        reached = {j for i in rows for j in np.flatnonzero(part[i]).tolist()}
        more = {i for j in reached for i in np.flatnonzero(part[:, j]).tolist()}
        if reached == columns and more == rows:
            return len(rows) == part.shape[0] and len(columns) == part.shape[1]
        rows, columns = more, reached


@pytest.mark.parametrize("seed", range(4))
def test_purviews__are_counted_as_the_definition_says(seed):
    rng, n = np.random.default_rng(seed), 5
    cm = rng.random((n, n)) < 0.45
    sets = [[i for i in range(n) if mask >> i & 1] for mask in range(1, 1 << n)]
    wanted = [sum(is_admissible(m, z, cm) for z in sets) for m in sets]
    weights = 1 << np.arange(n, dtype=np.int64)
    mechanisms = np.arange(1, 1 << n, dtype=np.int64)
    found = count_purviews(mechanisms, cm @ weights, cm.T @ weights, 1 << 20)
    assert found.tolist() == wanted
    most = count_purviews(mechanisms, cm @ weights, cm.T @ weights, 3)
    assert most.tolist() == [min(count, 3) for count in wanted]


def test_order__of_a_ring_goes_round():
    n = 9
    near = [sum(1 << (i + d) % n for d in (-2, -1, 1, 2)) for i in range(n)]
    order = greedy_order(np.array(near, np.int64), 2.0).tolist()
    steps = {(b - a) % n for a, b in pairwise(order)}
    assert steps in ({1}, {n - 1})
