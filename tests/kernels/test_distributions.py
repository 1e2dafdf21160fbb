"""Marginals and products of them, against sums over every state."""

from itertools import product

import numpy as np
import pytest

from iitdask.kernels.distributions import (
    forward_probability,
    marginal_table,
    product_distribution,
    state_marginals,
    write_repertoires,
)
from iitdask.kernels.subsets import segment_offsets, state_codes, value_offsets

LEVELS = [(2, 2), (2, 2, 2, 2), (3, 2, 2), (2, 4, 3)]
NEAR = {"rtol": 1e-13, "atol": 1e-15}


def states_of(levels):
    """Every state, the first unit fastest."""
    return [digits[::-1] for digits in product(*map(range, reversed(levels)))]


def random_rows(rng, levels, count):
    """Rows of probabilities of every unit's values."""
    return np.hstack([rng.dirichlet(np.ones(k), count) for k in levels])


@pytest.fixture(params=LEVELS, ids=str)
def case(request):
    levels, rng = request.param, np.random.default_rng(3)
    return levels, random_rows(rng, levels, len(states_of(levels))), rng


def inside(state, given, mask):
    return all(state[i] == given[i] for i in range(len(state)) if mask >> i & 1)


def test_marginal_table__is_the_mean_over_the_states_that_agree(case):
    levels, tpm, _ = case
    offsets = segment_offsets(np.array(levels))
    out = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, np.array(levels), offsets, out)
    states = states_of(levels)
    for given in states:
        codes = state_codes(offsets, np.array(given), len(levels))
        for mask, code in enumerate(codes):
            rows = [x for x, state in enumerate(states) if inside(state, given, mask)]
            np.testing.assert_allclose(out[code], tpm[rows].mean(axis=0), **NEAR)


def test_state_marginals__are_rows_of_the_marginal_table(case):
    levels, tpm, rng = case
    offsets = segment_offsets(np.array(levels))
    table = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, np.array(levels), offsets, table)
    state = np.array([rng.integers(k) for k in levels])
    found = state_marginals(tpm, np.array(levels), state)
    np.testing.assert_allclose(found, table[state_codes(offsets, state, len(levels))], **NEAR)


def joint(row, levels, units):
    columns = np.concatenate([[0], np.cumsum(levels)])
    return [
        np.prod([row[columns[i] + v] for i, v in zip(units, state, strict=True)])
        for state in states_of([levels[i] for i in units])
    ]


def test_product_distribution__multiplies_the_marginals_of_some_units(case):
    levels, tpm, _ = case
    columns, out = value_offsets(np.array(levels)), np.empty(len(tpm))
    units = np.array([0, len(levels) - 1])
    expected = joint(tpm[1], levels, units)
    product_distribution(tpm, 1, np.array(levels), columns, units, 0, 2, out)
    np.testing.assert_allclose(out[: len(expected)], expected, **NEAR)


def test_forward_probability__multiplies_the_current_values(case):
    levels, tpm, rng = case
    state = np.array([rng.integers(k) for k in levels])
    columns = np.concatenate([[0], np.cumsum(levels)])
    expected = [np.prod(row[columns[:-1] + state]) for row in tpm]
    found = forward_probability(tpm, np.array(levels), state)
    np.testing.assert_allclose(found, expected, **NEAR)


def test_repertoires__are_normalized_on_the_cause_side(case):
    levels, tpm, rng = case
    n, given = len(levels), np.array([rng.integers(k) for k in levels])
    offsets, columns = segment_offsets(np.array(levels)), value_offsets(np.array(levels))
    table = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, np.array(levels), offsets, table)
    cause = np.ascontiguousarray(table[:, columns[:-1] + given].T)
    effect = state_marginals(tpm, np.array(levels), given)
    full = (1 << n) - 1
    pairs = np.array([[0, 1, full], [1, full, 1], [0, full, 2], [1, 2, full]])
    sizes = [offsets[purview + 1] - offsets[purview] for *_, purview in pairs]
    begins = np.concatenate([[0], np.cumsum(sizes)])
    every = np.empty(begins[-1])
    write_repertoires(cause, effect, np.array(levels), columns, offsets, pairs, begins, 0, every)
    for k, (side, mechanism, purview) in enumerate(pairs.tolist()):
        units = [i for i in range(n) if purview >> i & 1]
        if side:
            expected = joint(effect[mechanism], levels, units)
        else:
            rows = cause[:, offsets[purview] : offsets[purview + 1]]
            likelihood = np.prod(rows[[i for i in range(n) if mechanism >> i & 1]], axis=0)
            expected = likelihood / likelihood.sum()
        np.testing.assert_allclose(every[begins[k] : begins[k + 1]], expected, **NEAR)
    part = np.empty(3)  # rows of two pairs at once
    first = int(begins[1]) - 1
    write_repertoires(cause, effect, np.array(levels), columns, offsets, pairs, begins, first, part)
    assert part.tolist() == every[first : first + 3].tolist()
