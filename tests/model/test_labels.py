"""Names of sets of units: no two sets of one system share a name."""

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.model.labels import join_labels, mask_namer, unit_set_names, units_of_mask

LABELS = st.lists(st.text("ABC", min_size=1, max_size=3), min_size=1, max_size=6, unique=True).map(
    tuple
)


def sets(n):
    return list(chain.from_iterable(combinations(range(n), k) for k in range(1, n + 1)))


@given(LABELS)
def test_mask_namer__names_every_set_differently(labels):
    name = mask_namer(labels)
    names = [name(sum(1 << i for i in units)) for units in sets(len(labels))]
    assert len(set(names)) == len(names)


@given(LABELS)
def test_mask_namer__writes_what_parse_units_reads(labels):
    table = np.full((1 << len(labels), len(labels)), 0.5)
    substrate = iit.Substrate.from_tpm(table, labels=labels)
    name = mask_namer(labels)
    for units in sets(len(labels)):
        assert substrate.parse_units(name(sum(1 << i for i in units))) == units


@given(LABELS)
def test_unit_set_names__are_those_of_masks(labels):
    name, every = mask_namer(labels), sets(len(labels))
    inside = np.array([[i in units for i in range(len(labels))] for units in every])
    assert unit_set_names(inside, labels) == [name(sum(1 << i for i in u)) for u in every]


@pytest.mark.parametrize(
    ("labels", "known", "name"),
    [
        (["A", "B", "C"], ["A", "B", "C"], "ABC"),
        (["A", "B"], ["A", "B", "AB"], "A,B"),
        (["A", "B"], ["A", "B", "CD"], "AB"),
        (["A", "CD"], ["A", "B", "CD"], "A,CD"),
        (["AB"], ["A", "B", "AB"], "AB"),
        ([], ["A"], "\N{EMPTY SET}"),
    ],
)
def test_join_labels__separates_only_where_it_must(labels, known, name):
    assert join_labels(labels, known) == name


def test_units_of_mask__is_ascending():
    assert units_of_mask(0b1101) == (0, 2, 3)
    assert units_of_mask(0b1101, (5, 6, 7, 9)) == (5, 7, 9)


def test_ces__of_units_named_as_their_join_has_distinct_mechanisms():
    units = [
        {"label": "A", "gate": "OR", "inputs": ["B", "AB"]},
        {"label": "B", "gate": "AND", "inputs": ["A", "AB"]},
        {"label": "AB", "gate": "XOR", "inputs": ["A", "B"]},
    ]
    renamed = [
        {**unit, "label": label, "inputs": [{"AB": "C"}.get(x, x) for x in unit["inputs"]]}
        for unit, label in zip(units, "ABC", strict=True)
    ]
    tree = iit.ces(iit.Substrate.from_units(units), "100")
    other = iit.ces(iit.Substrate.from_units(renamed), "100")
    names = tree["distinctions"]["mechanism"].values.tolist()
    assert len(set(names)) == len(names)
    plain = {"C": "AB", "AB": "A,B", "AC": "A,AB", "BC": "B,AB", "ABC": "A,B,AB"}
    assert names == [plain.get(x, x) for x in other["distinctions"]["mechanism"].values]


def test_sweep__of_units_named_as_their_join_has_every_candidate():
    units = [
        {"label": "A", "gate": "COPY", "inputs": ["B"]},
        {"label": "B", "gate": "COPY", "inputs": ["AB"]},
        {"label": "AB", "gate": "COPY", "inputs": ["A"]},
    ]
    cube = iit.sweep({"units": "all"}, {"units": units}, state="111")
    assert sorted(cube["units"].values.tolist()) == [
        "A", "A,AB", "A,B", "A,B,AB", "AB", "B", "B,AB",
    ]  # fmt: skip
