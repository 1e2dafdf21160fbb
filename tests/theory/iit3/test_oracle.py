"""IIT 3.0 against brute force: 150 random systems of two and three units, 20 of four.

Both background rules, binary and ternary units, gates, rings and random tables. The oracle needs
four seconds for a system of four units; its answers are kept beside the reference values, and
some are asked for again here. `python -m tests.reference.store_answers` writes them anew.
"""

import json

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import UnreachableStateError
from tests.reference import Unreachable
from tests.reference.random_systems import drawn
from tests.reference.store_answers import PATH, SYSTEMS, answer

pytestmark = pytest.mark.oracle
ROUNDED = 3e-6
SIDES = ("cause", "effect")
STORED = json.loads(PATH.read_text())
SLOW, MORE = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.exhaustive]
FIRSTS = [
    first if first < 10 else pytest.param(first, marks=SLOW if first < 40 else MORE)
    for first in range(0, 75, 5)
]


def compare(tree, expected, units):
    system, found = tree["system"], tree["distinctions"].to_dataset()
    assert float(system["phi"]) == pytest.approx(expected["phi"], abs=ROUNDED)
    if expected["phi"] > 0:
        cut = sorted([units[a], units[b]] for a, b in np.argwhere(system["cut"].values))
        assert cut in expected["tied_cuts"]
        assert int(system["n_tied_partitions"]) == len(expected["tied_cuts"])
    information = pytest.approx(expected["conceptual_information"], abs=ROUNDED)
    assert tree.attrs["conceptual_information"] == information
    rows = [[units[i] for i in np.flatnonzero(m)] for m in found["mechanism_units"].values]
    assert sorted(rows) == [one["mechanism"] for one in expected["concepts"]]
    for one in expected["concepts"]:
        row = found.isel(mechanism=rows.index(one["mechanism"]))
        for side in SIDES:
            compare_side(row, one[side], side, units)


def compare_side(row, end, side, units):
    assert float(row[f"phi_{side}"]) == pytest.approx(end["phi"], abs=ROUNDED)
    assert [units[i] for i in np.flatnonzero(row[f"purview_{side}"].values)] == end["purview"]
    assert int(row[f"n_tied_purviews_{side}"]) == len(end["ties"])
    for name, values in (("repertoire", "repertoire"), ("partitioned_repertoire", "partitioned")):
        ours = row[f"{name}_{side}"].values
        assert ours[~np.isnan(ours)] == pytest.approx(end[values], abs=1e-9)


def ours(case, background, **options):
    theory = {"name": "iit3", "background": background, **options}
    return iit.ces(case.substrate(), case.state, case.units, theory=theory)


@pytest.mark.parametrize("units", [2, 3])
@pytest.mark.parametrize("first", FIRSTS)
def test_oracle__small_systems(units, first):
    for number in range(first, first + 5):
        case, background = drawn(number, units)
        try:
            expected = answer(number, units)
        except Unreachable:
            with pytest.raises(UnreachableStateError, match="unreachable"):
                ours(case, background)
            continue
        compare(ours(case, background), expected, case.units)


@pytest.mark.parametrize("number", range(SYSTEMS))
def test_oracle__four_units(number):
    case, background = drawn(number, 4)
    compare(ours(case, background), STORED[number], case.units)


@pytest.mark.parametrize("number", [3, pytest.param(17, marks=pytest.mark.slow)])
def test_oracle__still_says_what_is_stored(number):
    again, stored = answer(number, 4), STORED[number]
    assert again["phi"] == pytest.approx(stored["phi"], abs=1e-6)
    assert again["tied_cuts"] == stored["tied_cuts"]
    assert [c["mechanism"] for c in again["concepts"]] == [
        c["mechanism"] for c in stored["concepts"]
    ]
