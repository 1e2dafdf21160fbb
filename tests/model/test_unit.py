"""Definitions of units: the forms they are written in, their names, and what is refused."""

import copy
import pickle

import pytest

import iitdask as iit
from iitdask.errors import InputError, StateError
from iitdask.model.unit import Unit, full_table, resolve_unit, unit_from_mapping

ABCD = iit.Substrate.from_factors([(["A"], [[0.6, 0.4], [0.1, 0.9]])] * 4)


def table(unit):
    return "".join(map(str, full_table(unit).tolist()))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"table": [0, 1, 1, 0]}, "0110"),
        ({"table": "0110"}, "0110"),
        ({"on": ["11", "10"]}, "0101"),
        ({"on": "11"}, "0001"),
        ({"counts": {1, 2}}, "0111"),
        ({"counts": [0]}, "1000"),
        ({"reads": "B"}, "0011"),
        ({"reads": ["A", "B"]}, "0001"),
        ({"reads": "B", "updates": 2}, "0000000011111111"),
        ({"on": ["1110", "0001"], "updates": 2}, "0000000110000000"),
    ],
)
def test_unit__is_its_truth_table(how, expected):
    assert table(iit.unit("AB", **how)) == expected


def test_unit__is_frozen_and_equal_by_meaning():
    one, other = iit.unit("AB", on=["11"]), iit.unit(["A", "B"], table="0001")
    assert one == other
    assert hash(one) == hash(other)
    assert one != iit.unit("BA", on=["11"])
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    with pytest.raises(AttributeError, match="updates"):
        one.updates = 2


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (lambda: iit.unit("A"), "A"),
        (lambda: iit.unit(["T0"]), "T0"),
        (lambda: iit.unit("AB", on=["11"]), "AB:0001"),
        (lambda: iit.unit("T0,T1", on=["11"]), "T0+T1:0001"),
        (lambda: iit.unit("ABCD", reads="C", updates=2), "ABCD:01(C2)"),
        (lambda: iit.unit("A", table="0110", updates=2), "A:0110"),
        (lambda: iit.unit("AB", on=["11"], background="DE"), "AB:0001/D+E"),
        (lambda: iit.unit([iit.unit("AB", on=["11"]), "C"], counts=[1]), "(AB:0001)+C:0110"),
    ],
)
def test_name__says_constituents_table_and_background(unit, name):
    assert str(unit()) == name
    assert repr(unit()) == f"Unit({name})"


def test_text__is_one_label_or_several_as_the_table_says():
    assert iit.unit("AB").of == ("AB",)
    assert iit.unit("AB", table="10").of == ("AB",)
    assert iit.unit("AB", table="1000").of == ("A", "B")
    assert iit.unit("AB", table="1000", updates=2).of == ("AB",)
    assert iit.unit("AB", reads="AB", updates=2).of == ("AB",)
    assert iit.unit(3, table="10").of == (3,)


def test_mapping__is_the_same_unit():
    inner = {"of": ["A", "B"], "on": ["11"]}
    meso = unit_from_mapping({"of": [inner, "C"], "table": "0110", "background": ["D"]}, "units")
    assert meso == iit.unit([iit.unit("AB", on=["11"]), "C"], table="0110", background="D")
    assert unit_from_mapping(meso.to_dict(), "units") == meso


def test_unit__depends_on_the_digits_that_decide_it_alone():
    big = iit.unit([f"T{k}" for k in range(12)], reads=["T3", "T7"], updates=8)
    assert big.digits == (7 * 12 + 3, 7 * 12 + 7)
    assert iit.unit("AB", table="00110011" * 2, updates=2).digits == (1,)


def test_meso_units__compose_their_tables():
    both = iit.unit([iit.unit("AC", on=["11"]), iit.unit("BD", table="0111")], counts=[1])
    found = resolve_unit(both, ABCD.labels)
    assert found.units == (0, 1, 2, 3)
    assert found.digits == ((1, 0), (1, 1), (1, 2), (1, 3))
    for state in range(16):
        a, b, c, d = (state >> k & 1 for k in range(4))
        assert found.value([(a, b, c, d)]) == ((a & c) ^ (b | d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": ["A", "B"]}, "expected one of table, on, counts, reads for 2 constituents"),
        ({"of": "A", "updates": 2}, "expected one of table, on, counts, reads for 2 updates"),
        ({"of": "AB", "table": "011", "on": ["11"]}, "expected one of table, on, counts, reads"),
        ({"of": ["A", "B"], "table": "011"}, r"table: expected 2\^2 values for 2 constituents"),
        ({"of": ["A"], "table": "0101", "updates": 3}, r"expected 2\^3 values for 1 constituent"),
        ({"of": "AB", "table": "0000"}, "expected a table with a 0 and a 1, got only 0"),
        ({"of": "AB", "counts": [0, 1, 2]}, "expected a table with a 0 and a 1, got only 1"),
        ({"of": "AB", "table": "0120"}, "entry 2: expected 0 or 1, got '2'"),
        ({"of": "AB", "table": 5}, "expected zeros and ones"),
        ({"of": ["A"], "on": ["1"], "updates": 2}, "expected words of 2"),
        ({"of": ["A", "B"], "on": ["101"]}, "expected words of 2 zeros and ones"),
        ({"of": "AB", "on": 3}, "expected state words"),
        ({"of": "AB", "counts": [3]}, "expected numbers from 0 to 2, got 3"),
        ({"of": "AB", "counts": "1"}, "expected numbers of constituents"),
        ({"of": "AB", "counts": [1], "updates": 2}, "expected updates to be 1 with counts, got 2"),
        ({"of": "AB", "reads": "C"}, "reads: expected constituents of A, B, got 'C'"),
        ({"of": "AB", "reads": []}, "reads: expected 1 to 24 constituents, got 0"),
        ({"of": "AB", "table": "0110", "updates": 0}, "updates: expected a whole number"),
        ({"of": "AB", "table": "0110", "updates": True}, "updates: expected a whole number"),
        ({"of": "AA", "table": "0110"}, "'A' is named twice"),
        ({"of": []}, "expected at least one constituent"),
        ({"of": ""}, "expected at least one constituent"),
        ({"of": {"A", "B"}, "table": "0110"}, "expected labels, unit numbers or units"),
        ({"of": [1.5]}, "expected a label, a unit number or a unit, got 1.5"),
        ({"of": "A", "background": [1.5]}, "background: expected labels or unit numbers"),
        ({"of": "A", "background": "BB"}, "background: a unit is named twice"),
        ({"of": "A", "background": None}, "background: expected labels or unit numbers"),
    ],
)
def test_unit__refuses_a_definition_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        iit.unit(**arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"on": ["11"]}, "of: expected the constituents of the unit"),
        ({"of": ["A"], "off": ["1"]}, "unknown key 'off'; a unit has of, table"),
        ({"of": [{"on": ["1"]}, "C"], "table": "0110"}, "entry 0: of: expected the constituents"),
        ({"of": ["A"], "digits": [0], "values": "00", "updates": 1, "background": []}, "stored"),
        ({"of": ["A"], "digits": [4], "values": "01", "updates": 1, "background": []}, "stored"),
    ],
)
def test_mapping__is_refused_in_one_line(content, message):
    with pytest.raises(InputError, match=message):
        unit_from_mapping(content, "units")


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (lambda: iit.unit("AX", table="0110"), "no unit is called 'X'"),
        (
            lambda: iit.unit([iit.unit("AB", on=["11"]), "B"], table="0110"),
            "expected constituents without common units, got 'B' in AB:0001 and B",
        ),
        (
            lambda: iit.unit([iit.unit("A", table="0111", updates=2), "B"], table="0110"),
            r"expected constituents of one update grain, got A:0111 \(2\), B \(1\)",
        ),
        (
            lambda: iit.unit("AB", on=["11"], background="B"),
            "expected background outside of the unit, got 'B'",
        ),
        (
            lambda: iit.unit([iit.unit("AB", on=["11"], background="D"), "C"], table="0110"),
            "expected all that is apportioned to the constituent AB:0001/D; D is missing",
        ),
    ],
)
def test_resolve_unit__refuses_what_does_not_fit_the_substrate(unit, message):
    with pytest.raises(StateError, match=message):
        resolve_unit(unit(), ABCD.labels)


def test_unit__of_too_many_digits_is_refused():
    many = [iit.unit([f"U{4 * k + j}" for j in range(4)], counts=[2]) for k in range(7)]
    labels = tuple(f"U{k}" for k in range(28))
    with pytest.raises(StateError, match="depends on at most 24 values"):
        resolve_unit(iit.unit(many, counts=[3]), labels)
    assert isinstance(resolve_unit(iit.unit(many[:6], counts=[3]), labels).definition, Unit)
