"""States of candidates and reachable states, against plain Python."""

from itertools import product

import numpy as np
import pytest

from iitdask.kernels.batch_tables import mark_reachable_states, split_states


def states_of(levels):
    return [digits[::-1] for digits in product(*map(range, reversed(levels)))]


def number(digits, levels):
    out, weight = 0, 1
    for value, k in zip(digits, levels, strict=True):
        out, weight = out + value * weight, weight * k
    return out


@pytest.mark.parametrize("levels", [(2, 2, 2), (3, 2, 4)])
def test_split_states__numbers_both_parts(levels):
    states = states_of(levels)
    for units in range(1 << len(levels)):
        inner, outer = np.empty((2, len(states)), np.int64)
        mine = [i for i in range(len(levels)) if units >> i & 1]
        others = [i for i in range(len(levels)) if not units >> i & 1]
        count = split_states(np.array(levels), units, inner, outer)
        assert count == np.prod([levels[i] for i in others], dtype=int)
        for x, state in enumerate(states):
            assert inner[x] == number([state[i] for i in mine], [levels[i] for i in mine])
            assert outer[x] == number([state[i] for i in others], [levels[i] for i in others])


@pytest.mark.parametrize("seed", range(6))
def test_reachable__are_states_that_some_state_leads_to(seed):
    rng = np.random.default_rng(seed)
    levels = (2, 3, 2)
    states = states_of(levels)
    tables = []
    for _ in range(2):
        rows = [np.eye(k)[rng.integers(k, size=len(states))] for k in levels]
        if seed % 2:
            rows[1] = np.full((len(states), 3), 1 / 3)
        tables.append(np.hstack(rows))
    flat = np.concatenate([table.ravel() for table in tables])
    starts = np.array([0, tables[0].size, flat.size])
    expected = [
        any(
            np.prod([row[column + v] for column, v in zip((0, 2, 5), state, strict=True)]) > 0
            for table in tables
            for row in table
        )
        for state in states
    ]
    out = np.zeros(len(states), bool)
    mark_reachable_states(flat, starts, 0, 2, np.array(levels), out)
    assert out.tolist() == expected
    assert not all(expected) or seed % 2
