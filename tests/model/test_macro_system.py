"""Macro systems: tables against golden ones and against sequences of states of whole universes."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import StateError, UnreachableStateError
from iitdask.model.macro_system import AnySystem, MacroSystem, parse_window
from iitdask.model.system import System
from tests import macro_cases
from tests.macro_cases import SYSTEMS, defined, drawn, names, plain, substrate_of, window_of
from tests.reference import macro
from tests.strategies import examples


def tables(substrate, window, units):
    """Cause and effect table, P(unit = 1 | macro state)."""
    data = iit.macro_tables(substrate, window, units)
    return data["cause"].values, data["effect"].values


@pytest.mark.parametrize("golden", SYSTEMS, ids=names(SYSTEMS))
def test_tables__are_the_golden_ones(golden):
    units = [defined(unit) for unit in golden["units"]]
    data = iit.macro_tables(substrate_of(golden), window_of(golden), units)
    for side in ("cause", "effect"):
        expected = np.array(golden[f"{side}_tpm"]).reshape(data[side].shape)
        np.testing.assert_allclose(data[side].values, expected, rtol=0, atol=1e-12)
    assert data["state"].values.tolist() == golden["macro_state"]


@pytest.mark.parametrize("seed", range(100))
def test_tables__are_sums_over_sequences_of_the_whole_universe(seed):
    case = drawn(seed)
    expected = macro.tables(case.tpm, [plain(unit) for unit in case.units], case.window)
    found = tables(case.substrate, case.window, case.definitions())
    for got, side in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, side, rtol=0, atol=1e-12)


def test_oracle__reproduces_golden_tables():
    for golden in SYSTEMS[:20]:
        units = [plain(unit) for unit in golden["units"]]
        found = macro.tables(golden["tpm"], units, golden["micro_history"])
        for got, side in zip(found, ("cause", "effect"), strict=True):
            np.testing.assert_allclose(got, golden[f"{side}_tpm"], rtol=0, atol=1e-12)
        assert macro.state_of(units, golden["micro_history"]) == golden["macro_state"]


SEEDS = st.integers(0, 10**6)


@examples(60, deadline=None)
@given(SEEDS, st.data())
def test_micro_units__have_the_tables_of_the_candidate(seed, data):
    case = drawn(seed, most_updates=1)
    n = case.substrate.n_units
    chosen = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    outside = [unit for unit in range(n) if unit not in chosen]
    apportioned = data.draw(st.sets(st.sampled_from(outside))) if outside else set()
    first, *rest = sorted(chosen)
    units = [iit.unit(first, background=sorted(apportioned)), *map(iit.unit, rest)]
    system = MacroSystem.build(case.substrate, [case.window[-1]], units)
    expected = System.build(case.substrate, case.window[-1], sorted(chosen))
    for side in ("cause", "effect"):
        np.testing.assert_allclose(getattr(system, side), getattr(expected, side), atol=1e-14)


@examples(60, deadline=None)
@given(SEEDS)
def test_background__has_no_influence_where_every_unit_spans_one_update(seed):
    case = drawn(seed, most_updates=1)
    bare = [{**unit, "background_apportionment": []} for unit in case.units]
    found = tables(case.substrate, case.window, case.definitions())
    expected = tables(case.substrate, case.window, [defined(unit) for unit in bare])
    for got, side in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, side, atol=1e-14)


@examples(60, deadline=None)
@given(SEEDS)
def test_complementing_a_table__relabels_the_states_of_the_unit(seed):
    case = drawn(seed)
    other = dict(case.units[0], mapping=[1 - value for value in case.units[0]["mapping"]])
    flipped = [defined(other), *case.definitions()[1:]]
    rows = np.arange(1 << len(flipped)) ^ 1
    found = tables(case.substrate, case.window, flipped)
    for got, side in zip(
        found, tables(case.substrate, case.window, case.definitions()), strict=True
    ):
        expected = side[rows]
        expected[:, 0] = 1 - expected[:, 0]
        np.testing.assert_allclose(got, expected, atol=1e-13)


@examples(60, deadline=None)
@given(SEEDS)
def test_order__of_constituents_changes_nothing_and_that_of_units_permutes_axes(seed):
    case = drawn(seed)
    units = case.definitions()
    found = tables(case.substrate, case.window, units)
    k = len(units)
    turned = [_reversed(unit) for unit in units][::-1]
    rows = [sum((row >> j & 1) << (k - 1 - j) for j in range(k)) for row in range(1 << k)]
    for got, side in zip(tables(case.substrate, case.window, turned), found, strict=True):
        np.testing.assert_allclose(got[rows][:, ::-1], side, atol=1e-13)


def _reversed(unit):
    """The same unit with its constituents in the other order."""
    m = len(unit.of)
    length = m * unit.updates
    words = []
    for state in range(1 << length):
        index = sum((state >> d & 1) << k for k, d in enumerate(unit.digits))
        if unit.values[index]:
            digits = [state >> d & 1 for d in range(length)]
            turned = [digits[t * m + (m - 1 - j)] for t in range(unit.updates) for j in range(m)]
            words.append("".join(map(str, turned)))
    return iit.unit(unit.of[::-1], on=words, updates=unit.updates, background=unit.background)


@examples(30, deadline=None)
@given(SEEDS)
def test_meso_units__have_the_tables_of_the_composed_unit(seed):
    case = drawn(seed)
    shots = []
    for unit in case.units:
        flat = plain(unit)
        table, micro = "".join(map(str, flat["table"])), flat["micro"]
        back = flat["background"]
        shots.append(iit.unit(micro, table=table, updates=flat["grain"], background=back))
    found = tables(case.substrate, case.window, shots)
    for got, side in zip(
        found, tables(case.substrate, case.window, case.definitions()), strict=True
    ):
        np.testing.assert_allclose(got, side, atol=1e-13)


@examples(30, deadline=None)
@given(SEEDS)
def test_tables__are_probabilities(seed):
    case = drawn(seed)
    for side in tables(case.substrate, case.window, case.definitions()):
        assert ((side >= 0) & (side <= 1)).all()


def ring(n):
    """n units that copy the one before them, with noise."""
    noisy = [[0.9, 0.1], [0.2, 0.8]]
    return iit.Substrate.from_factors(
        [([(k - 1) % n], noisy) for k in range(n)], labels=[f"U{k}" for k in range(n)]
    )


def test_cost__does_not_depend_on_the_universe():
    alpha = iit.unit("U0,U1,U2", reads="U2", updates=3)
    beta = iit.unit("U3,U4,U5", reads="U5", updates=3)
    small, large = (
        tables(ring(n), [(1,) * n] * 3, [alpha, beta, "U6"]) for n in (8, 1500)
    )  # fmt: skip
    np.testing.assert_allclose(small, large, atol=1e-14)


def test_long_black_boxes__have_tables():
    n = 24
    units = [[f"U{12 * k + j}" for j in range(12)] for k in range(2)]
    boxes = [iit.unit(own, reads=own[-1], updates=12) for own in units]
    cause, effect = tables(ring(n), [(1,) * n] * 12, boxes)
    np.testing.assert_allclose(cause, effect, atol=1e-14)
    assert np.ptp(effect, axis=0).min() > 0


def test_macro_system__can_be_pickled_and_knows_its_content():
    case = drawn(3)
    system = MacroSystem.build(case.substrate, case.window, case.definitions())
    again = pickle.loads(pickle.dumps(system))
    assert again.fingerprint == system.fingerprint
    np.testing.assert_array_equal(again.cause, system.cause)
    rebuilt = MacroSystem.build(case.substrate, **system.to_dict())
    assert rebuilt.fingerprint == system.fingerprint
    other = [*case.window[:-1], [1 - value for value in case.window[-1]]]
    assert MacroSystem.build(case.substrate, other, case.definitions()).fingerprint != (
        system.fingerprint
    )


@pytest.mark.parametrize(
    ("window", "states"),
    [
        ("010", 1), ((0, 1, 0), 1), ([0, 1, 0], 1), (["0", "1", "0"], 1),
        ({"A": 0, "B": 1, "C": 0}, 1),
        (["010"], 1), (["010", "110"], 2), ([(0, 1, 0), "110"], 2), (np.zeros((3, 3), int), 3),
        ([{"A": 0, "B": 1, "C": 0}, [1, 1, 0]], 2),
    ],
)  # fmt: skip
def test_window__is_a_list_of_states(window, states):
    substrate = iit.examples.load("basic")
    assert len(parse_window(substrate.levels, substrate.labels, window)) == states
    assert parse_window(substrate.levels, substrate.labels, window)[0][2] == 0


def test_build_system__is_of_micro_units_where_none_is_defined():
    substrate = iit.examples.load("basic")
    assert isinstance(AnySystem.build(substrate, ["100"], "AB"), System)
    assert isinstance(AnySystem.build(substrate, "100", [iit.unit("A"), "C"]), MacroSystem)
    mixed = AnySystem.build(substrate, "100", [iit.unit("AB", on=["11"]), "C"])
    assert mixed.labels == ("AB", "C")
    assert mixed.state == (0, 0)


BASIC = iit.examples.load("basic")
ALPHA = iit.unit("AB", on=["11"])


@pytest.mark.parametrize(
    ("window", "units", "message"),
    [
        ("100", [ALPHA, "B"], "AB:0001 and B share the constituent B"),
        (
            "100",
            [iit.unit("A", background="C"), "C"],
            "C is apportioned to A/C and a constituent of C",
        ),
        (
            "100",
            [iit.unit("A", background="C"), iit.unit("B", background="C")],
            "C is apportioned to both A/C and B/C",
        ),
        (["100", "110"], [ALPHA], "expected 1 state, as many as unit AB:0001 spans, got 2"),
        ("100", [iit.unit("A", table="0111", updates=2)], "expected 2 states, .* got 1"),
        (["10", "110"], [iit.unit("A", table="0111", updates=2)], "window: entry 0: "),
        (["100", "110"], "AB", "expected 1 state for micro units, got 2"),
        ("100", [iit.unit("AX", on=["11"]), "C"], "units: entry 0: no unit is called 'X'"),
        ([], [ALPHA], "expected"),
    ],
)
def test_build_system__refuses_in_one_line(window, units, message):
    with pytest.raises(StateError, match=message):
        AnySystem.build(BASIC, window, units)


def test_k_ary_micro_units__are_refused():
    three = [[0.5, 0.3, 0.2]] * 3
    substrate = iit.Substrate.from_factors([(["A"], three), (["A"], [[0.5, 0.5]] * 3)])
    with pytest.raises(StateError, match="micro units of two values, got 'A' of 3 values"):
        iit.macro_tables(substrate, "00", [iit.unit("B")])


def test_impossible_windows__are_refused():
    copies = iit.Substrate.from_units([{"gate": "COPY", "inputs": [0]}] * 2)
    with pytest.raises(UnreachableStateError, match="no past state of the substrate leads to it"):
        iit.macro_tables(copies, "10", [iit.unit("A")])
    two = iit.unit("A", table="0111", updates=2)
    with pytest.raises(UnreachableStateError, match="window: entry 0, the oldest of unit A:0111"):
        iit.macro_tables(copies, ["10", "11"], [two])
    never = iit.unit("AB", on=["10", "01"], updates=1)
    turns = iit.Substrate.from_units([{"gate": "NOT", "inputs": [i]} for i in range(2)])
    stays = iit.unit("A", on=["00"], updates=2)
    assert iit.macro_tables(turns, "10", [never])["state"].item() == 1
    with pytest.raises(UnreachableStateError, match="the state of the macro units is impossible"):
        iit.macro_tables(turns, ["00", "00"], [stays])


def test_strategy__draws_every_kind():
    cases = [drawn(seed) for seed in range(60)]
    units = [unit for case in cases for unit in case.units]
    assert any(isinstance(each, dict) for unit in units for each in unit["constituents"])
    assert any(unit["background_apportionment"] for unit in units)
    assert {len(case.window) for case in cases} >= {1, 2, 3}
    assert macro_cases.SEARCHES
