"""Inferred edges, idle edges, held units, nearest products, functions as gates, names of values."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import IdleEdgesWarning, StateError, SubstrateError
from iitdask.model.factor import CountingFactor
from iitdask.model.substrate import Substrate

FIRST_IS_ON = [[0, 0], [1, 0], [0, 0], [1, 0]]
"""A copies itself, B is off."""


def warned(make, *args, **named):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make(*args, **named)
    return made, [str(each.message) for each in caught if each.category is IdleEdgesWarning]


def test_inferred__are_edges_along_which_a_probability_varies():
    whole = Substrate.from_tpm(FIRST_IS_ON)
    assert whole.connectivity.all()
    assert whole.inferred.tolist() == [[True, False], [False, False]]
    assert not whole.inferred.flags.writeable
    made = Substrate.from_tpm(FIRST_IS_ON, "inferred")
    assert made.connectivity.tolist() == whole.inferred.tolist()


def test_inferred__leaves_out_variation_by_rounding():
    tpm = np.array([[0.3, 0.5], [0.3 + 4e-13, 0.6], [0.3, 0.5], [0.3, 0.6 + 3e-12]])
    made = Substrate.from_tpm(tpm, "inferred")
    assert made.connectivity.tolist() == [[False, True], [False, True]]
    assert made.factors[0].table.shape == (2,)
    assert made.factors[0].table[1] == pytest.approx(0.3, abs=1e-12)
    assert made.inferred.tolist() == made.connectivity.tolist()


def test_inferred__of_gates_that_count_many_inputs():
    labels = [f"U{i}" for i in range(22)]
    units = [{"label": "U0", "gate": "XOR", "inputs": labels}]
    units += [{"label": each, "gate": "BIAS", "probability": 0.5} for each in labels[1:]]
    made = Substrate.from_units(units, "inferred")
    assert isinstance(made.factors[0], CountingFactor)
    assert made.inferred[:, 0].all()
    assert not made.inferred[:, 1:].any()
    units[0] |= {"noise": 0.5}
    assert Substrate.from_units(units, "inferred").factors[0].table.tolist() == [0.5, 0.5]


def test_inferred__in_a_study_block():
    block = {"substrate": {"tpm": FIRST_IS_ON, "connectivity": "inferred"}, "state": "10"}
    cube = iit.sweep({**block, "compute": "sia", "sweep": {"state": ["10"]}} | {"state": None})
    assert cube["phi"].size == 1


def test_idle_edges__of_the_caller_give_one_warning():
    full = np.ones((2, 2))
    made, texts = warned(Substrate.from_tpm, FIRST_IS_ON, full)
    expected = "tpm: 3 declared edges make no difference (A -> B, B -> A, B -> B); they count"
    assert len(texts) == 1
    assert texts[0].startswith(expected)
    assert made.connectivity.all()
    _, texts = warned(Substrate.from_factors, [((0,), [[0.5, 0.5], [0.5, 0.5]])])
    assert texts[0].startswith("factors: 1 declared edge makes no difference (A -> A)")
    _, texts = warned(Substrate.from_units, [{"gate": "COPY", "inputs": ["A"], "noise": 0.5}])
    assert len(texts) == 1


def test_idle_edges__that_nobody_declared_give_none():
    assert warned(Substrate.from_tpm, FIRST_IS_ON)[1] == []
    assert warned(Substrate.from_tpm, FIRST_IS_ON, "inferred")[1] == []
    assert warned(Substrate.from_series, [[0, 0], [0, 0], [1, 0]])[1] == []
    for name in iit.examples.names():
        assert warned(iit.examples.load, name)[1] == []


def test_idle_edges__are_shown_where_the_caller_stands():
    with pytest.warns(IdleEdgesWarning, match="no difference") as caught:
        Substrate.from_tpm(FIRST_IS_ON, np.ones((2, 2)))
    assert caught[0].filename == __file__


def test_connectivity__of_another_word_is_refused():
    with pytest.raises(
        SubstrateError, match=r"expected zeros and ones .* or 'inferred', got 'all'"
    ):
        Substrate.from_tpm(FIRST_IS_ON, "all")


def joint(substrate):
    """(S, S) state-by-state matrix of a substrate of two-valued units, by products."""
    n = substrate.n_units
    states = [tuple(s >> i & 1 for i in range(n)) for s in range(1 << n)]
    return np.array(
        [
            [
                math.prod(
                    f.table[(*(x[p] for p in f.parents), y[i])]
                    for i, f in enumerate(substrate.factors)
                )
                for y in states
            ]
            for x in states
        ]
    )


def test_nearest_product__of_a_product_is_the_product():
    substrate = iit.examples.load("iit4-2023-fig1")
    found = Substrate.nearest_product(joint(substrate))
    assert found.attrs["largest_row_divergence"] == pytest.approx(0, abs=1e-12)
    for unit in range(substrate.n_units):
        assert np.allclose(full_table(found, unit), full_table(substrate, unit), atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_nearest_product__is_marginals_and_says_how_far(seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(6, 0.4), size=6)  # units of 2 and 3 values
    found = Substrate.nearest_product(p, levels=[2, 3])
    states = [(s % 2, s // 2) for s in range(6)]
    worst = 0.0
    for row, x in zip(p, states, strict=True):
        first = [sum(q for q, y in zip(row, states, strict=True) if y[0] == v) for v in range(2)]
        second = [sum(q for q, y in zip(row, states, strict=True) if y[1] == v) for v in range(3)]
        assert np.allclose(full_table(found, 0)[x], first)
        assert np.allclose(full_table(found, 1)[x], second)
        kl = sum(q * math.log2(q / (first[y[0]] * second[y[1]])) for q, y in zip(row, states) if q)  # noqa: B905
        if kl > worst + 1e-12:
            worst, where = kl, x
    assert found.attrs["largest_row_divergence"] == pytest.approx(worst)
    if worst > 1e-6:
        assert found.attrs["largest_row"] == "".join(map(str, where))


def full_table(substrate, unit):
    factor = substrate.factors[unit]
    shape = [k if j in factor.parents else 1 for j, k in enumerate(substrate.levels)]
    table = factor.table.reshape(*shape, -1)
    return np.broadcast_to(table, (*substrate.levels, substrate.levels[unit]))


@pytest.mark.parametrize(
    ("tpm", "levels", "message"),
    [
        ([[1, 0]], None, r"expected a square \(state-by-state\) matrix, got shape \(1, 2\)"),
        (np.eye(3), None, r"one row for each state of units with \[2\] values, got 3"),
        (np.eye(4), [4, 1], r"units with \[4, 1\] values"),
        (np.eye(4) / 2, None, "expected probabilities that sum to 1, got 0.5"),
    ],
)
def test_nearest_product__refuses(tpm, levels, message):
    with pytest.raises(SubstrateError, match=message):
        Substrate.nearest_product(tpm, levels=levels)


def test_from_tpm__names_the_way_out_of_dependence():
    with pytest.raises(SubstrateError, match=r"Substrate.nearest_product takes it"):
        Substrate.from_tpm([[0.5, 0, 0, 0.5]] * 4)


def test_fixed__holds_units_and_conditions_the_others():
    basic = iit.examples.load("basic")
    for value in (0, 1):
        held = basic.fixed({"B": value})
        assert held.factors[1].parents == ()
        assert held.factors[1].table.tolist() == [1 - value, value]
        assert not held.connectivity[1].any()
        assert not held.connectivity[:, 1].any()
        for state in itertools.product((0, 1), repeat=3):
            at = (state[0], value, state[2])
            for unit in (0, 2):
                assert (
                    full_table(held, unit)[state].tolist() == full_table(basic, unit)[at].tolist()
                )
    assert basic.fixed({1: 0}) == basic.fixed({"B": 0})


def test_fixed__leaves_gates_that_count_what_they_are():
    labels = [f"U{i}" for i in range(24)]
    units = [{"label": "U0", "gate": "MAJORITY", "inputs": labels}]
    units += [{"label": each, "gate": "COPY", "inputs": [each]} for each in labels[1:]]
    held = Substrate.from_units(units).fixed(dict.fromkeys(labels[10:], 1))
    # 14 of 24 are on, so that it is on whatever the other ten are
    assert held.factors[0].parents == ()
    assert held.factors[0].table.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Z": 0}, "no unit is called 'Z'"),
        ({"A": 2}, "fixed: unit 'A' has values 0 to 1, got 2"),
        ({"A": None}, "expected whole numbers, got None"),
        ({}, "expected a mapping from units to values, got {}"),
        ("A", "expected a mapping from units to values, got 'A'"),
    ],
)
def test_fixed__refuses(values, message):
    with pytest.raises(StateError, match=message):
        iit.examples.load("basic").fixed(values)


def test_gates__may_be_functions_of_the_values_of_inputs():
    def both(a, b):
        return a and b

    units = [
        {"gate": both, "inputs": ["A", "B"]},
        {"gate": lambda a: 0.3 + 0.4 * a, "inputs": ["A"], "noise": 0.1},
        {"gate": lambda b: (b + 1) % 3, "inputs": ["D"], "levels": 3},
        {"gate": lambda c: [0.5, 0.25, 0.25] if c else [0, 0, 1], "inputs": ["C"], "levels": 3},
    ]
    made = Substrate.from_units(units)
    assert made.levels == (2, 2, 3, 3)
    assert made.factors[0].table[..., 1].tolist() == [[0, 0], [0, 1]]
    assert made.factors[1].table[:, 1].tolist() == pytest.approx([0.34, 0.66])
    assert made.factors[2].table.argmax(axis=-1).tolist() == [1, 2, 0]
    assert made.factors[3].table.tolist() == [[0, 0, 1], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]
    constant = Substrate.from_units([{"gate": lambda: 1, "inputs": []}])
    assert constant.factors[0].table.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ({"gate": lambda a: 1 / a}, r"\(<lambda>\): of inputs \(0,\) the function raised ZeroDiv"),
        (
            {"gate": lambda a: a + 1},
            r"of inputs \(1,\) expected a probability from 0 to 1 or 2 pro",
        ),
        ({"gate": lambda _: 3, "levels": 3}, "expected a value below 3 or 3 probabilities, got 3"),
        ({"gate": lambda _: [0.5, 0.4]}, "sum to 1"),
        ({"gate": lambda _: 0, "slope": 1}, "unknown parameter 'slope'; expected noise, levels"),
        ({"gate": lambda a, b: 0}, "missing 1 required positional argument"),
    ],
)
def test_gates__of_functions_are_refused(unit, message):
    with pytest.raises(SubstrateError, match=message):
        Substrate.from_units([{**unit, "inputs": ["A"]}])


def test_values__have_names():
    p53 = iit.examples.load("gomez2020-p53-mdm2").with_value_names({"P": ["low", "mid", "high"]})
    label = p53.labels[0]
    assert label == "P"
    n = p53.n_units
    assert p53.parse_state(["high", *[0] * (n - 1)]) == (2, *[0] * (n - 1))
    state = dict.fromkeys(p53.labels, 0) | {"P": "mid"}
    assert p53.parse_state(state) == (1, *[0] * (n - 1))
    assert p53.parse_state("1" + "0" * (n - 1)) == (1, *[0] * (n - 1))
    again = pickle.loads(pickle.dumps(p53))
    assert dict(again.values) == {0: ("low", "mid", "high")}
    assert again == iit.examples.load("gomez2020-p53-mdm2")
    assert "mid" in p53._repr_html_()
    with pytest.raises(StateError, match="no value is called 'hihg'; did you mean 'high'"):
        p53.parse_state(["hihg", *[0] * (n - 1)])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"A": ["off"]}, "unit 'A': expected 2 distinct names that are no numbers, got"),
        ({"A": ["x", "x"]}, "expected 2 distinct names"),
        ({"A": ["0", "1"]}, "names that are no numbers"),
        ({"A": "ab"}, "expected 2 distinct names"),
        ({"Z": ["a", "b"]}, "no unit is called 'Z'"),
        ("A", "values: expected a mapping"),
    ],
)
def test_values__with_bad_names_are_refused(names, message):
    with pytest.raises(StateError, match=message):
        iit.examples.load("basic").with_value_names(names)
