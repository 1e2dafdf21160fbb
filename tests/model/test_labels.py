"""Names of sets of units: no two sets of one system share a name."""

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import StateError, SubstrateError
from iitdask.model.labels import (
    join_labels,
    mask_namer,
    parse_labels,
    parse_state,
    parse_units,
    state_text,
    unit_set_names,
    units_of_mask,
)
from iitdask.result.causal_accounts import link_rows
from iitdask.result.formatting import distinction_rows
from iitdask.study.run import verify_stored_run

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


DIGITS = ("1", "2", "3")


@pytest.mark.parametrize("units", [1, [1], [0, 2], [np.int64(2)]])
def test_parse_units__refuses_numbers_that_are_labels_of_other_units(units):
    with pytest.raises(StateError, match=r"could be unit number \d, which is called .*quote"):
        parse_units(units, DIGITS, "units")


def test_parse_units__takes_numbers_that_no_label_contradicts():
    assert parse_units("12", DIGITS, "units") == (0, 1)
    assert parse_units(["3"], DIGITS, "units") == (2,)
    assert parse_units(0, DIGITS, "units") == (0,)
    assert parse_units([0, 1], ("0", "1", "2"), "units") == (0, 1)
    assert parse_units([0, 2], ("7", "8", "9"), "units") == (0, 2)


def test_parse_state__refuses_numbers_that_are_labels_of_other_units():
    with pytest.raises(StateError, match="could be unit number 1"):
        parse_state({1: 0, 2: 1, 3: 1}, (2, 2, 2), DIGITS)
    assert parse_state({"1": 0, "2": 1, "3": 1}, (2, 2, 2), DIGITS) == (0, 1, 1)


@pytest.mark.parametrize(
    "unit",
    ["9" * 5000, 10**5000, -1, "x" * 10**5, True, 1.0, None, []],
    ids=["digits", "huge", "negative", "long", "bool", "float", "none", "list"],
)
def test_parse_units__refuses_in_one_short_line(unit):
    with pytest.raises(StateError, match=r"\Aunits: ") as caught:
        parse_units([unit], ("A", "B"), "units")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("labels", [{"A", "B"}, frozenset("AB"), {"A": 1, "B": 2}, 5, 0.5])
def test_parse_labels__refuses_what_has_no_order(labels):
    with pytest.raises(SubstrateError, match="expected a list of labels"):
        parse_labels(labels, 2, "labels")


def test_runs__go_on_with_units_whose_labels_are_digits(tmp_path):
    basic = iit.examples.load("basic")
    units = [(factor.parents, factor.table) for factor in basic.factors]
    digits = iit.Substrate.from_factors(units, labels=DIGITS)
    calls = {
        "ces": lambda s, store: iit.ces(s, "100", s.labels[:2], store=store),
        "complexes": lambda s, store: iit.complexes(s, "100", store=store),
        "account": lambda s, store: iit.account(s, "110", "100", s.labels[1:], store=store),
        "nexus": lambda s, store: iit.causal_nexus(s, "110", "100", store=store),
    }
    for name, call in calls.items():
        call(digits, tmp_path / name)
        assert verify_stored_run(tmp_path / name).problems == ()


def concatenating(seed, labels=("A", "B", "AB")):
    table = np.random.default_rng(seed).random((1 << len(labels), len(labels)))
    return iit.Substrate.from_tpm(table, labels=labels)


@pytest.mark.parametrize("labels", [("A", "B", "AB"), ("1", "2", "12"), ("x", "xx", "xxx")])
def test_results__name_every_set_of_units_once(labels):
    substrate = concatenating(3, labels)
    tree = iit.ces(substrate, "111")
    mechanisms = tree["distinctions"]["mechanism"]
    assert mechanisms.to_index().is_unique
    for name in mechanisms.values:
        assert substrate.parse_units(name) == tuple(
            np.flatnonzero(tree["distinctions"]["mechanism_units"].sel(mechanism=name).values)
        )
    found = iit.complexes(substrate, "111")
    assert found["candidate"].to_index().is_unique
    cube = iit.sweep({"units": "all"}, substrate, state="111")
    assert cube["units"].to_index().is_unique
    assert cube.sizes["units"] == 7
    account = iit.account(substrate, "111", "111")
    rows = link_rows(account)
    assert len({row[0] for row in rows}) == len(rows)


def test_results__of_some_units_are_told_apart_from_those_outside():
    tree = iit.ces(concatenating(3), "111", ["A", "B"])
    assert tree.attrs["units"] == "A,B"
    names = tree["distinctions"]["mechanism"].values.tolist()
    assert "AB" not in names
    assert all("AB" not in row for row in distinction_rows(tree))
    partitions = tree["distinctions"]["partition_cause"].values.tolist()
    assert not any("AB" in text for text in partitions)


@pytest.mark.parametrize(
    "state",
    [
        "100",
        "1,0,0",
        " 1, 0,0",
        [True, False, False],
        np.array([1, 0, 0], bool),
        ["1", "0", "0"],
        {"A": "1", "B": np.False_, "C": 0},
        (np.int8(1), np.uint8(0), 0),
    ],
    ids=str,
)
def test_states__are_read_in_every_form(state):
    assert iit.examples.load("basic").parse_state(state) == (1, 0, 0)


@pytest.mark.parametrize("state", ["10", "1,0", "1,0,x", "1,,0", ["x", 0, 0], [1.0, 0, 0], "²00"])
def test_states__of_other_forms_are_refused(state):
    with pytest.raises(iit.errors.StateError, match=r"^state: expected "):
        iit.examples.load("basic").parse_state(state)


def test_states__of_ten_values_and_more_are_read_as_they_are_written():
    many = np.random.default_rng(0).dirichlet(np.ones(12), 12)
    substrate = iit.Substrate.from_factors([([1], many), ([0], many)])
    for values in ((1, 10), (10, 1), (11, 11), (0, 1)):
        assert substrate.parse_state(state_text(values)) == values
    one = iit.Substrate.from_factors([([0], many)])
    assert one.parse_state(state_text([11])) == (11,)


def test_sweeps__over_all_states_of_ten_values_compute_them():
    many = np.random.default_rng(0).dirichlet(np.ones(11), 11)
    copy = np.eye(11)
    substrate = iit.Substrate.from_factors([([1], many), ([0], copy)])
    for states in ("all", {"trajectory": {"steps": 20}}):
        cube = iit.sweep({"state": states}, substrate)
        assert set(cube["status"].values.tolist()) == {"done"}
    single = iit.sia(substrate, "1,10")
    assert float(cube_phi(substrate, "1,10")) == float(single["phi"])


def cube_phi(substrate, state):
    return iit.sweep({"state": "all"}, substrate)["phi"].sel(state=state)
