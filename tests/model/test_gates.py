"""Units by name."""

import math

import numpy as np
import pytest

from iitdask.errors import SubstrateError
from iitdask.model.gates import GATES
from iitdask.model.substrate import Substrate


def coins(labels):
    return [{"label": label, "gate": "BIAS", "probability": 0.5} for label in labels]


def p_on(gate, inputs=2, **parameters):
    """P(on) for little-endian rows of the inputs."""
    labels = "ABCDE"[:inputs]
    unit = {"label": "Z", "gate": gate, "inputs": list(labels), **parameters}
    substrate = Substrate.from_units([*coins(labels), unit])
    factor = substrate.factors[-1]
    rows = [[r >> i & 1 for i in range(inputs)] for r in range(1 << inputs)]
    return [float(factor.table[(*(x[p] for p in factor.parents), 1)]) for x in rows]


@pytest.mark.parametrize(
    ("gate", "inputs", "parameters", "expected"),
    [
        ("COPY", 1, {}, "01"),
        ("NOT", 1, {}, "10"),
        ("AND", 2, {}, "0001"),
        ("OR", 2, {}, "0111"),
        ("NAND", 2, {}, "1110"),
        ("NOR", 2, {}, "1000"),
        ("XOR", 3, {}, "01101001"),
        ("XNOR", 3, {}, "10010110"),
        ("xnor", 2, {}, "1001"),
        ("MAJORITY", 2, {}, "0001"),
        ("MAJORITY", 3, {}, "00010111"),
        ("MINORITY", 2, {}, "1000"),
        ("MINORITY", 3, {}, "11101000"),
        ("THRESHOLD", 3, {"threshold": 2}, "00010111"),
        ("LINEAR", 3, {"weights": [1, 1, -1], "threshold": 2}, "00010000"),
        ("LINEAR", 2, {"weights": [1, -1], "threshold": 0}, "1101"),
        ("RULE", 3, {"number": 110}, "00111110"),
        ("TABLE", 2, {"table": [0, 1, 0, 1]}, "0101"),
        ("TABLE", 2, {"table": [[1, 0], [0, 1], [1, 0], [0, 1]]}, "0101"),
        ("TABLE", 2, {"table": [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]}, "0101"),
        ("TABLE", 1, {"table": [[1, 0], [0, 1]]}, "01"),
        ("CONSTANT", 0, {"value": 1}, "1"),
    ],
)
def test_deterministic_gates(gate, inputs, parameters, expected):
    assert p_on(gate, inputs, **parameters) == [int(bit) for bit in expected]


def test_rule__reads_left_self_right():
    left, self_, right = 1, 1, 0
    row = left + 2 * self_ + 4 * right
    assert p_on("RULE", 3, number=1 << 6)[row] == 1
    assert sum(p_on("RULE", 3, number=1 << 6)) == 1


def test_sigmoid__spins_and_bits():
    def logistic(x):
        return 1 / (1 + math.exp(-x))

    spins = p_on("SIGMOID", weights=[0.3, -0.7], slope=2, bias=0.1)
    assert spins == pytest.approx([logistic(2 * (0.1 + w)) for w in (0.4, 1.0, -1.0, -0.4)])
    bits = p_on("LOGISTIC", weights=[0.3, -0.7], bias=0.1, spins=False)
    assert bits == pytest.approx([logistic(x) for x in (0.1, 0.4, -0.6, -0.3)])
    ising = p_on("ISING", weights=[0.3, -0.7], temperature=0.5, field=0.1)
    assert ising == pytest.approx([logistic(4 * (0.1 + w)) for w in (0.4, 1.0, -1.0, -0.4)])


def test_sigmoid__extreme_fields_do_not_overflow():
    assert p_on("SIGMOID", 1, weights=[1e6]) == pytest.approx([0, 1], abs=1e-300)


def test_sigmoid__symmetric_inputs_give_bitwise_equal_values():
    values = p_on("ISING", 4, weights=[0.1, 0.7, 0.1, 0.1], temperature=0.3)
    assert values[0b0001] == values[0b0100] == values[0b1000]


def test_logistic__reproduces_figure_1_of_iit_4():
    units = [
        {"gate": "LOGISTIC", "inputs": "AB", "weights": [-0.2, 0.7], "slope": 4},
        {"gate": "LOGISTIC", "inputs": "ABC", "weights": [0.7, -0.2, -0.8], "slope": 4},
        {"gate": "LOGISTIC", "inputs": "AC", "weights": [0.2, 0.2], "slope": 4},
    ]
    a, b, c = Substrate.from_units(units).factors
    published = [
        [0.11920292202211757, 0.7685247834990178, 0.16798161486607552],
        [0.026596993576865863, 0.9988874639671398, 0.5],
        [0.973403006423134, 0.40131233988754816, 0.16798161486607552],
        [0.8807970779778823, 0.9945137011005495, 0.5],
        [0.11920292202211757, 0.005486298899450404, 0.5],
        [0.026596993576865863, 0.5986876601124519, 0.8320183851339245],
        [0.973403006423134, 0.0011125360328603216, 0.5],
        [0.8807970779778823, 0.23147521650098227, 0.8320183851339245],
    ]
    states = [[r >> i & 1 for i in range(3)] for r in range(8)]
    got = [[a.table[x, y, 1], b.table[x, y, z, 1], c.table[x, z, 1]] for x, y, z in states]
    np.testing.assert_allclose(got, published, rtol=0, atol=1e-15)


def test_ising__temperature_one_half_is_a_slope_of_four():
    low = p_on("ISING", 2, weights=[0.9, 0.1], temperature=0.5)
    np.testing.assert_allclose(low, p_on("LOGISTIC", 2, weights=[0.9, 0.1], slope=4), atol=1e-15)
    assert low[0b01] == pytest.approx(1 / (1 + math.exp(-3.2)), abs=1e-15)


def test_noise__flips():
    assert p_on("AND", noise=0.1) == pytest.approx([0.1, 0.1, 0.1, 0.9])
    assert p_on("BIAS", 0, probability=0.3, noise=0.25) == pytest.approx([0.75 * 0.3 + 0.25 * 0.7])


def test_many_values():
    units = [
        {"label": "A", "gate": "TABLE", "inputs": ["B", "C"], "levels": 3, "table": [0, 1, 2, 1]},
        {"label": "B", "gate": "NOT", "inputs": ["B"]},
        {"label": "C", "kind": "TABLE", "inputs": ["A"], "table": [[1, 0], [0.5, 0.5], [0, 1]]},
        {"label": "D", "gate": "COPY", "inputs": ["A"], "levels": 3, "noise": 0.2},
        {"label": "E", "gate": "CONSTANT", "value": 3, "levels": 4},
        {"label": "F", "gate": "TABLE", "table": [0.2, 0.3, 0.5]},
    ]
    substrate = Substrate.from_units(units)
    assert substrate.levels == (3, 2, 2, 3, 4, 3)
    a = substrate.factors[0].table
    assert [a[row & 1, row >> 1].argmax() for row in range(4)] == [0, 1, 2, 1]
    np.testing.assert_allclose(substrate.factors[3].table[1], [0.1, 0.8, 0.1])
    assert substrate.factors[4].table.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ({"gate": "NIX"}, r"unit 'Z': expected a gate, one of COPY, NOT, AND.*got 'NIX'"),
        ({}, "expected a gate, one of COPY.*got None"),
        ({"gate": "OR", "kind": "OR"}, "either gate or kind"),
        ({"gate": "NOT", "inputs": ["A", "B"]}, r"\(NOT\): expected 1 inputs, got 2"),
        ({"gate": "OR"}, "expected 1 or more inputs, got 0"),
        ({"gate": "BIAS", "inputs": ["A"], "probability": 1}, "expected 0 inputs, got 1"),
        ({"gate": "OR", "inputs": ["Y"]}, "inputs: no unit is called 'Y'"),
        ({"gate": "OR", "inputs": ["A", "A"]}, "unit 'A' is named twice"),
        ({"gate": "OR", "inputs": "A", "slope": 1}, "unknown parameter 'slope'; expected noise"),
        ({"gate": "THRESHOLD", "inputs": "AB"}, "expected threshold: a finite number; got none"),
        ({"gate": "OR", "inputs": "A", "noise": 1.5}, "noise to be a probability.*got 1.5"),
        ({"gate": "BIAS", "probability": "x"}, "probability to be a probability.*got 'x'"),
        ({"gate": "RULE", "inputs": "ABT", "number": 256}, "number to be a whole number.*256"),
        ({"gate": "RULE", "inputs": "AB", "number": 1}, "expected 3 inputs, got 2"),
        ({"gate": "ISING", "inputs": "A", "weights": [1], "temperature": 0}, "above 0, got 0"),
        ({"gate": "SIGMOID", "inputs": "A", "weights": [1, 2]}, "expected 1 weights, .* got 2"),
        ({"gate": "SIGMOID", "inputs": "A", "weights": 1}, "weights to be a list .* got 1"),
        ({"gate": "SIGMOID", "inputs": "A", "weights": [np.nan]}, "a list of finite numbers"),
        ({"gate": "SIGMOID", "inputs": "A", "weights": [1], "spins": 1}, "true or false, got 1"),
        ({"gate": "OR", "inputs": ["T"]}, "expected inputs with two values, got 3; use TABLE"),
        ({"gate": "COPY", "inputs": ["T"]}, "an input with 2 values like its own, got 3"),
        ({"gate": "TABLE", "inputs": "AB", "table": 1000}, r'got 1000; quote it: table: "1000"'),
        ({"gate": "CONSTANT", "value": 2}, "expected a value from 0 to 1, got 2"),
        ({"gate": "TABLE", "table": [[1], [0, 1]]}, r"unit 'Z' \(TABLE\): table: expected numbers"),
        ({"gate": "TABLE", "inputs": "AB", "table": [0, 1]}, "to have 4 rows, got 2"),
        ({"gate": "TABLE", "inputs": "A", "table": [0, 7], "levels": 3}, "values from 0 to 2"),
        ({"gate": "TABLE", "inputs": "A", "table": [[1, 0]]}, r"shape \(2, 2\).*got \(1, 2\)"),
        ({"gate": "TABLE", "inputs": "A", "table": [0, 1.5]}, "value 0: .* got -0.5"),
        ({"gate": "TABLE", "inputs": "A", "table": [0, 1], "levels": 1}, "from 2 to 255, got 1"),
    ],
)
def test_refuses(unit, message):
    others = [*coins("AB"), {"label": "T", "gate": "TABLE", "table": [0.5, 0.25, 0.25]}]
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_units([{"label": "Z", **unit}, *others])


def test_refuses__a_table_over_too_many_inputs():
    names = [f"n{i}" for i in range(40)]
    with pytest.raises(SubstrateError, match="a table over 40 inputs is too large"):
        Substrate.from_units(
            [
                *coins(names),
                {
                    "label": "Z",
                    "gate": "LINEAR",
                    "inputs": names,
                    "weights": [1] * 40,
                    "threshold": 1,
                },
            ]
        )


def test_labels__in_the_units_or_beside_them():
    units = [{"gate": "NOT", "inputs": ["P"]}]
    assert Substrate.from_units(units, labels=["P"]).labels == ("P",)
    with pytest.raises(SubstrateError, match="labels are given twice"):
        Substrate.from_units(coins("AB"), labels=["P", "Q"])
    with pytest.raises(SubstrateError, match="unit 1 has no label"):
        Substrate.from_units([*coins("A"), {"gate": "BIAS", "probability": 1}])
    with pytest.raises(SubstrateError, match="unit 0: expected a mapping, got 'OR'"):
        Substrate.from_units(["OR"])


def test_gates_are_a_frozen_table():
    with pytest.raises(TypeError, match="does not support item assignment"):
        GATES["MINE"] = GATES["OR"]
