"""Results as text: amounts, partitions, tables, JSON."""

import json

import numpy as np
import pytest
import xarray as xr

from iitdask.model.labels import mask_namer
from iitdask.result.formatting import (
    CONCEPT_COLUMNS,
    DISTINCTION_COLUMNS,
    REPERTOIRE_COLUMNS,
    as_json,
    bytes_text,
    distinction_rows,
    is_iit3,
    number_text,
    partition_text,
    repertoire_rows,
    seconds_text,
    severed_text,
    system_partition_text,
    system_summary,
    text_array,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (float("nan"), "unknown"),
        (0.0, "0 s"),
        (0.0004, "< 1 ms"),
        (0.35, "350 ms"),
        (89.0, "89 s"),
        (90.0, "1.5 min"),
        (12240.0, "3.4 h"),
        (2 * 86400.0, "2 d"),
    ],
)
def test_seconds_text__has_the_unit_that_fits(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (12e3, "12 kB"), (5e6, "5 MB"), (34e8, "3.4 GB")],
)
def test_bytes_text__has_the_unit_that_fits(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "-"), (0.1 + 0.2, "0.3"), (123456.7, "123457"), (1234567.0, "1.23457e+06")],
)
def test_number_text__has_six_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("mechanism", "purview", "kept", "cause", "text"),
    [
        (0b011, 0b100, [0b100, 0, -1], True, "A/C × B/∅"),
        (0b011, 0b110, [-1, 0b01, 0b10], False, "A/B × B/C"),
        # What no unit is connected with stands alone.
        (0b001, 0b110, [0b010, -1, -1], True, "A/B × ∅/C"),
        (0b011, 0b100, [-1, -1, 0b001], False, "A/C × B/∅"),
        # Units of one part stand together.
        (0b111, 0b111, [0b001, 0b110, 0b001], True, "AC/A × B/BC"),
    ],
)
def test_partition_text__names_both_sides_of_every_part(mechanism, purview, kept, cause, text):
    assert partition_text(mask_namer("ABC"), mechanism, purview, kept, cause) == text


def test_severed_text__joins_sources_with_the_same_targets():
    cut = np.zeros((3, 3), bool)
    cut[:2, :2] = cut[2, 2] = True
    assert severed_text(cut, "ABC", "DEF") == "severs AB→DE, C→F"
    assert severed_text(cut[:1, :2], ["T0"], ["T1", "T2"]) == "severs T0→T1,T2"


def cut_of(n, parts):
    """What parts, each with its direction, sever: the definition, pair by pair."""
    cut = np.zeros((n, n), bool)
    for units, way in parts:
        for a in range(n):
            for b in range(n):
                leaves, enters = a in units and b not in units, b in units and a not in units
                cut[a, b] |= (leaves and way != "cause") or (enters and way != "effect")
    return cut


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([((0,), "effect"), ((1, 2, 3), "cause")], "A | BCD, severs A→BCD"),
        ([((0, 2), "cause"), ((1, 3), "cause")], "AC | BD, severs both ways"),
        ([((0, 3), "cause"), ((1, 2), "effect")], "AD | BC, severs BC→AD"),
        ([((k,), "both") for k in range(4)], "A | B | C | D, severs both ways"),
        (
            [((0,), "effect"), ((1,), "effect"), ((2, 3), "cause")],
            "A | B | CD, severs outputs of A | B and inputs of CD",
        ),
        (
            [((0,), "both"), ((1,), "effect"), ((2, 3), "effect")],
            "A | B | CD, severs both ways",
        ),
        (
            [((0, 1), "cause"), ((2,), "cause"), ((3,), "effect")],
            "AB | C | D, severs outputs of D and inputs of AB | C",
        ),
    ],
)
def test_system_partition_text__names_parts_and_what_they_lose(parts, text):
    assert system_partition_text(cut_of(4, parts), "ABCD") == text


def test_system_partition_text__of_one_unit_and_of_large_parts():
    assert system_partition_text(np.ones((1, 1), bool), "A") == "A, severs A→A"
    labels = [f"unit{k}" for k in range(100)]
    text = system_partition_text(cut_of(100, [((0,), "effect"), (range(1, 100), "cause")]), labels)
    assert text == "unit0 | 99 units, severs unit0→99 units"


def test_text_array__of_nothing_is_text():
    assert text_array(["a", "bc"]).dtype == object
    assert text_array([]).dtype == np.dtypes.StringDType()


def test_system_summary__says_what_the_tree_holds(structure):
    rows = dict(system_summary(structure))
    assert rows["theory"] == "iit4"
    assert rows["candidate system"] == "ABC in ABC, state 100"
    assert float(rows["phi_s"].removesuffix(" bits")) == pytest.approx(
        float(structure["system"]["phi"]), rel=1e-5
    )
    count, rest = rows["distinctions"].split(", sum phi ")
    assert int(count) == structure.attrs["n_distinctions"]
    total = pytest.approx(structure.attrs["sum_phi_distinctions"], rel=1e-5)
    assert float(rest.removesuffix(" bits")) == total
    assert "why 0" not in rows


def test_system_summary__of_a_reducible_system_says_why():
    import iitdask as iit

    one_way = [{"gate": "COPY", "inputs": ["A"]}, {"gate": "COPY", "inputs": ["A"]}]
    rows = dict(system_summary(iit.ces(iit.Substrate.from_units(one_way), "11")))
    assert rows["phi_s"] == "0 bits"
    assert rows["why 0"] == "the units are not strongly connected"
    assert "minimum partition" not in rows


def test_distinction_rows__are_sorted_by_phi(structure):
    rows = distinction_rows(structure)
    assert len(rows) == structure.attrs["n_distinctions"] > 1
    assert {len(row) for row in rows} == {len(DISTINCTION_COLUMNS)}
    values = [float(row[1]) for row in rows]
    assert values == sorted(values, reverse=True)
    data = structure["distinctions"].to_dataset()
    for mechanism, phi, cause, state, *_ in rows:
        one = data.sel(mechanism=mechanism)
        assert float(phi) == pytest.approx(float(one["phi"]), rel=1e-5)
        inside = one["purview_cause"].values
        assert cause == "".join(one["unit"].values[inside])
        assert state == "".join(map(str, one["state_cause"].values[inside]))


def test_concepts__have_rows_and_repertoires(concepts):
    assert is_iit3(concepts)
    rows, repertoires = distinction_rows(concepts), repertoire_rows(concepts)
    assert len(rows) == concepts.attrs["n_distinctions"]
    assert {len(row) for row in rows} == {len(CONCEPT_COLUMNS)}
    assert {len(row) for row in repertoires} == {len(REPERTOIRE_COLUMNS)}
    assert [row[1] for row in repertoires] == ["cause", "effect"] * len(rows)
    assert [row[0] for row in repertoires[::2]] == [row[0] for row in rows]
    for *_, text in repertoires:
        values = [float(word) for word in text.removesuffix(" ...").split()]
        assert sum(values) <= 1 + 0.005 * len(values)
    summary = dict(system_summary(concepts))
    assert "bits" not in summary["Phi"]
    assert summary["theory"].startswith("iit3, background ")


def test_structure__is_not_of_iit3(structure):
    assert not is_iit3(structure)


def test_as_json__holds_every_variable_and_nothing_json_lacks(structure):
    found = json.loads(json.dumps(as_json(structure), allow_nan=False))
    assert found["attrs"]["n_distinctions"] == structure.attrs["n_distinctions"]
    for name, node in structure.children.items():
        variables = found[name]["variables"]
        assert variables.keys() == {str(key) for key in node.to_dataset().variables}
        assert variables["phi"]["dims"] == list(node["phi"].dims) if "phi" in node else True
    mechanisms = found["distinctions"]["variables"]["mechanism"]["values"]
    assert mechanisms == structure["distinctions"]["mechanism"].values.tolist()


def test_as_json__writes_none_for_what_is_not_finite():
    data = xr.Dataset({"x": ("i", [np.inf, np.nan, 1.0])}, attrs={"y": np.float64("nan")})
    found = as_json(xr.DataTree(data))
    assert found["variables"]["x"] == {"dims": ["i"], "values": [None, None, 1.0]}
    assert found["attrs"] == {"y": None}
