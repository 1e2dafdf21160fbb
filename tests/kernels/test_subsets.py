"""Subsets, codes and orders against plain Python."""

from itertools import combinations, product

import numpy as np
import pytest

from iitdask.kernels.subsets import (
    hash_set_order,
    is_admissible,
    is_purview,
    is_strongly_connected,
    nonempty_masks_by_size,
    phi_tolerance,
    popcount,
    popcounts,
    segment_offsets,
    state_codes,
    tuple_hash,
    value_offsets,
    write_units,
)

LEVELS = [(2,), (2, 2, 2), (3, 2), (2, 4, 3)]


def units_of(mask):
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def mask_of(units):
    return sum(1 << i for i in units)


def test_popcount__counts_bits():
    assert [popcount(x) for x in range(300)] == [x.bit_count() for x in range(300)]
    assert popcount(2**62 - 1) == 62
    assert popcounts(6).tolist() == [x.bit_count() for x in range(64)]


@pytest.mark.parametrize("levels", LEVELS)
def test_codes__number_the_states_of_all_subsets_one_after_the_other(levels):
    n, offsets = len(levels), segment_offsets(np.array(levels))
    every = [
        (mask, digits[::-1])  # the first unit varies fastest
        for mask in range(1 << n)
        for digits in product(*(range(levels[i]) for i in reversed(units_of(mask))))
    ]
    assert offsets[-1] == len(every) == np.prod(np.array(levels) + 1)
    for state in product(*map(range, levels)):
        codes = state_codes(offsets, np.array(state), n)
        for mask in range(1 << n):
            assert every[codes[mask]] == (mask, tuple(state[i] for i in units_of(mask)))


def test_value_offsets__are_running_sums():
    assert value_offsets(np.array([2, 4, 3])).tolist() == [0, 2, 6, 9]


def test_write_units__are_ascending():
    out = np.full(8, -1)
    for mask in range(256):
        count = write_units(mask, out)
        assert out[:count].tolist() == units_of(mask)


def test_phi_tolerance__is_relative_above_one_bit():
    assert phi_tolerance(0.2) == 1e-12
    assert phi_tolerance(50.0) == 5e-11


def hangs_together(origin, target, edges):
    """mathematics.md 6.3, by growing one component of the bipartite graph."""
    pairs = [(a, b) for a in origin for b in target if edges[a, b]]
    if {a for a, _ in pairs} != set(origin) or {b for _, b in pairs} != set(target):
        return False
    if len(origin) == 1 or len(target) == 1:
        return True
    seen = {("from", origin[0])}
    for _ in range(len(pairs) + 1):
        for a, b in pairs:
            if ("from", a) in seen or ("to", b) in seen:
                seen |= {("from", a), ("to", b)}
    return len(seen) == len(origin) + len(target)


@pytest.mark.parametrize("seed", range(12))
def test_admissible__is_a_connected_graph_without_idle_units(seed):
    rng = np.random.default_rng(seed)
    n = 4
    edges = rng.random((n, n)) < rng.uniform(0.2, 0.7)
    children = np.array([mask_of(np.flatnonzero(row)) for row in edges])
    outcomes = set()
    for origin in range(1, 1 << n):
        for target in range(1, 1 << n):
            expected = hangs_together(units_of(origin), units_of(target), edges)
            assert is_admissible(origin, target, children) == expected
            assert is_purview(origin, target, children, True) == expected
            assert is_purview(target, origin, children, False) == expected
            outcomes.add(expected)
    assert outcomes == {True, False}


@pytest.mark.parametrize("seed", range(20))
def test_strongly_connected__by_powers_of_the_matrix(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    edges = rng.random((n, n)) < 0.4
    reach = np.linalg.matrix_power(np.eye(n, dtype=int) + edges, n) > 0
    assert is_strongly_connected(edges) == reach.all()


def test_masks_by_size__are_in_the_order_of_combinations():
    expected = [mask_of(c) for size in range(1, 6) for c in combinations(range(5), size)]
    assert nonempty_masks_by_size(5).tolist() == expected


def test_tuple_hash__is_that_of_a_tuple():
    """CPython hashes a tuple of small integers as the published order was made with."""
    for mask in (*range(1, 128), 2**40 - 1, 0b1010 << 30):
        assert int(tuple_hash(mask)) == hash(tuple(units_of(mask))) % 2**64


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("forward", [True, False])
def test_hash_set_order__is_that_of_a_set_of_tuples(seed, forward):
    rng = np.random.default_rng(seed)
    n = 7
    edges = rng.random((n, n)) < 0.8
    children = np.array([mask_of(np.flatnonzero(row)) for row in edges])
    mechanism, masks = int(rng.integers(1, 1 << n)), nonempty_masks_by_size(n)
    inserted = set()
    for purview in masks.tolist():
        if is_purview(mechanism, purview, children, forward):
            inserted.add(tuple(units_of(purview)))
    found = hash_set_order(mechanism, masks, children, forward).tolist()
    assert found == [mask_of(units) for units in inserted]
