"""Dynamics of laid out substrates against the plain transition matrix."""

import numpy as np
import pytest

from iitdask.model.batch import Batch
from iitdask.model.substrate import Substrate

COPY_AND = Substrate.from_units(
    [{"gate": "COPY", "inputs": ["B"]}, {"gate": "AND", "inputs": ["A", "B"]}]
)
NOISY = Substrate.from_units(
    [
        {"gate": "NOT", "inputs": ["B"], "noise": 0.3},
        {"gate": "COPY", "inputs": ["A"], "noise": 0.2},
    ]
)


def test_reachable_states__are_those_of_deterministic_units():
    # (A, B) -> (B, A and B): 00 -> 00, 10 -> 00, 01 -> 10, 11 -> 11.
    batch = Batch.concatenate([Batch.from_substrates([NOISY]), Batch.from_substrates([COPY_AND])])
    assert batch.reachable_states(np.array([1])).tolist() == [0, 1, 3]
    assert batch.reachable_states(np.array([0, 1])).tolist() == [0, 1, 2, 3]
    assert batch.reachable_states(np.array([], int)).tolist() == []


def test_visited_share__follows_deterministic_units():
    batch = Batch.from_substrates([COPY_AND])
    share = batch.visited_share(0, 2, steps=4, burn=0, seed=0)
    assert share.tolist() == [0.75, 0.25, 0.0, 0.0]
    assert batch.visited_share(0, 2, steps=4, burn=1, seed=0).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_visited_share__approaches_the_stationary_distribution():
    batch = Batch.from_substrates([NOISY])
    share = batch.visited_share(0, None, steps=20_000, burn=100, seed=1)
    rows = batch.tables.reshape(4, 4)  # state by (A off, A on, B off, B on)
    matrix = np.array([[row[x & 1] * row[2 + (x >> 1)] for x in range(4)] for row in rows])
    stationary = np.linalg.matrix_power(matrix, 200)[0]
    assert share == pytest.approx(stationary, abs=0.02)
    again = batch.visited_share(0, None, steps=20_000, burn=100, seed=1)
    np.testing.assert_array_equal(share, again)
