"""Canonical renumberings against all permutations."""

from itertools import permutations, product

import numpy as np
import pytest

from iitdask.kernels.batch_phi import (
    byte_order_keys,
    canonical_relabellings,
    canonical_state_rank,
    is_graph_automorphism,
    next_permutation,
)


def test_next_permutation__goes_through_all_in_order():
    order, seen = np.arange(4), []
    while True:
        seen.append(tuple(order.tolist()))
        if not next_permutation(order):
            break
    assert seen == list(permutations(range(4)))


def test_automorphism__keeps_levels_and_edges():
    ring = np.array([0b010, 0b100, 0b001])
    turns = {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
    for order in permutations(range(3)):
        found = is_graph_automorphism(np.array(order), np.array([2, 2, 2]), ring)
        assert found == (order in turns)
    assert not is_graph_automorphism(np.array([1, 2, 0]), np.array([2, 2, 3]), ring)


def test_keys__order_as_the_bytes_of_rounded_numbers():
    rng = np.random.default_rng(2)
    table = rng.random((8, 6))
    keys = byte_order_keys(table, np.array([2, 2, 2])).ravel()
    texts = [np.float64(round(p * 1e12) / 1e12).tobytes() for p in table.reshape(8, 3, 2).ravel()]
    assert np.argsort(keys, kind="stable").tolist() == sorted(
        range(len(texts)), key=texts.__getitem__
    )


def form(table, order, levels):
    """Bytes of a table after a renumbering, states with the first axis slowest."""
    strides = np.concatenate([[1], np.cumprod(levels)[:-1]])
    columns = np.concatenate([[0], np.cumsum(levels)])
    out = b""
    for digits in product(*(range(levels[i]) for i in order)):
        x = sum(d * strides[i] for d, i in zip(digits, order, strict=True))
        for i in order:
            for v in range(levels[i]):
                out += np.float64(round(table[x, columns[i] + v] * 1e12) / 1e12).tobytes()
    return out


@pytest.mark.parametrize("seed", range(8))
def test_relabellings__are_those_with_the_smallest_bytes(seed):
    rng = np.random.default_rng(seed)
    n, levels = 3, [2, 2, 2]
    ones = rng.choice([0.0, 0.1, 0.9], (8, n))
    if seed % 2:  # the same rule everywhere: ties
        for x in range(8):
            ones[x] = 0.9 if x in (0, 7) else 0.1
    table = np.stack([1 - ones, ones], axis=2).reshape(8, 2 * n)
    children = np.full(n, 0b111)
    forms = {order: form(table, order, levels) for order in permutations(range(n))}
    least = min(forms.values())
    expected = [list(order) for order in permutations(range(n)) if forms[order] == least]
    found = canonical_relabellings(table, np.array(levels), children)
    assert found.tolist() == expected
    for code in range(8):
        digits = [code >> i & 1 for i in range(n)]
        ranks = [sum(digits[i] << (n - 1 - a) for a, i in enumerate(order)) for order in expected]
        assert canonical_state_rank(code, np.array(levels), found) == min(ranks)
