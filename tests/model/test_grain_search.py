"""Searches across grains: truth tables of the policies, bounds, and what is refused."""

import pickle

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, StateError, UnreachableStateError
from iitdask.model.grain_search import GrainSearch, truth_tables

NOISY = iit.Substrate.from_tpm(np.random.default_rng(4).uniform(0.1, 0.9, (16, 4)))


def words(*arguments):
    return ["".join(map(str, row)) for row in truth_tables(*arguments).tolist()]


def test_truth_tables__of_two_constituents():
    assert words("families", 2, 1) == ["0111", "0110", "0001", "0101", "0011"]
    every = ["0111", "0100", "0011", "0010", "0101", "0110", "0001"]
    assert words("exhaustive", 2, 1) == every
    assert words("families", 2, 2) == ["0000111100001111", "0000000011111111", "0" * 12 + "1111"]
    assert words("families", 1, 2) == ["0011"]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_truth_tables__are_as_many_as_published(m):
    assert len(truth_tables("families", m, 1)) == max(2 ** (m + 1) - 3, 1)
    assert len(truth_tables("families", m, 2)) == 2**m - 1
    assert len(truth_tables("exhaustive", m, 1)) == 2 ** (2**m - 1) - 1


@pytest.mark.parametrize("m", [2, 3])
def test_truth_tables__of_families_are_counts_or_conjunctions(m):
    states = np.arange(1 << m)
    on = np.array([int(state).bit_count() for state in states])
    expected = set()
    for numbers in range(1 << (m + 1)):
        expected.add(tuple(numbers >> on & 1))
    for chosen in range(1, 1 << m):
        expected.add(tuple((states & chosen == chosen).astype(int)))
    expected = {row if row[0] == 0 else tuple(1 - x for x in row) for row in expected}
    found = {tuple(row) for row in truth_tables("families", m, 1).tolist()}
    assert found == expected - {(0,) * (1 << m)}


def test_search__takes_the_last_states_of_a_window_and_can_be_rebuilt():
    search = GrainSearch.build(NOISY, window=["0000", "1111", "0101"], updates=2)
    assert search.window == ((1, 1, 1, 1), (0, 1, 0, 1))
    again = GrainSearch.build(NOISY, **search.to_dict())
    assert again.fingerprint == search.fingerprint
    assert pickle.loads(pickle.dumps(search)).fingerprint == search.fingerprint
    listed = GrainSearch.build(NOISY, "0101", footprints=[("AB", "CD"), ("BC",)])
    assert GrainSearch.build(NOISY, **listed.to_dict()).footprints == listed.footprints
    assert listed.fingerprint != GrainSearch.build(NOISY, "0101").fingerprint


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"mappings": "all"}, "mappings: expected one of families, exhaustive, got 'all'"),
        ({"updates": 0}, "updates: expected a whole number from 1 on, got 0"),
        ({"depth": True}, "depth: expected a whole number from 1 on, got True"),
        ({"constituents": 1.5}, "constituents: expected a whole number"),
        ({"background": -1}, "background: expected a whole number from 0 on, got -1"),
        ({"footprints": "AB"}, "footprints: expected a list of systems"),
        ({"footprints": ["AB"]}, "footprints: entry 0: expected units such as"),
        ({"footprints": [("AB", "BC")]}, "units without common constituents, got 'B'"),
        ({"footprints": [("AX",)]}, "footprints: entry 0: no unit is called 'AX'"),
        ({"footprints": []}, "footprints: expected at least one system"),
        ({"footprints": [()]}, "footprints: entry 0: expected at least one unit"),
    ],
)
def test_search__refuses_bounds_in_one_line(how, message):
    with pytest.raises(InputError, match=message):
        iit.grains(NOISY, "0101", **how)


def test_search__refuses_windows_and_substrates():
    with pytest.raises(StateError, match=r"window: expected 4 states, .* got 2"):
        iit.grains(NOISY, ["0101", "0101"], updates=2, depth=2)
    three = iit.Substrate.from_factors([(["A"], [[0.5, 0.3, 0.2]] * 3)])
    with pytest.raises(StateError, match="micro units of two values"):
        iit.grains(three, "0")
    copies = iit.Substrate.from_units([{"gate": "COPY", "inputs": [0]}] * 2)
    with pytest.raises(UnreachableStateError, match="no past state of the substrate leads"):
        iit.grains(copies, "10")
    with pytest.raises(InputError, match="exhaustive: expected at most 16 states of a sequence"):
        iit.grains(NOISY, ["0101"] * 2, "exhaustive", updates=2, footprints=[("ABC", "D")])
