"""What is said about ties, against the enumeration of every admissible joint choice."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.theory.iit4 import phi_range, tie_sensitivity
from tests import reference
from tests.reference.tie_choices import Choices
from tests.reference.tie_systems import KINDS, UNITS, drawn
from tests.strategies import Case, symmetric, table

TIES = ("reference", "canonical")
SYSTEMS = 350
FEW = 2 * len(KINDS)
FLAGS = ("tie_sensitive", "phi_tie_sensitive")


def flags(tree):
    return tuple(tree.attrs[name] for name in FLAGS)


def reported_structure(tree, units):
    """Return {(mechanism, cause, effect)} of a result, causes and effects as (purview, state)."""
    distinctions, out = tree["distinctions"].to_dataset(), set()
    for k in range(distinctions.sizes["mechanism"]):
        row = distinctions.isel(mechanism=k)

        def side(name, row=row):
            inside = np.flatnonzero(row[f"purview_{name}"].values)
            state = row[f"state_{name}"].values[inside]
            return tuple(units[i] for i in inside), tuple(state.tolist())

        mechanism = tuple(units[i] for i in np.flatnonzero(row["mechanism_units"].values))
        out.add((mechanism, side("cause"), side("effect")))
    return frozenset(out)


def true_flags(choices, tree, units):
    """Return the flags by enumeration, given what is reported."""
    is_changed = choices.change_structure(reported_structure(tree, units))
    phi_changes = choices.change_phi(tree.attrs["big_phi"])
    return is_changed, "yes" if phi_changes else "no"


def compare(cases):
    """Compare flags with the truth for cases under both orders; return (wrong, unknown, true)."""
    wrong, unknown, seen = [], [], []
    for case in cases:
        choices = Choices(reference.System(*case.given()))
        for ties in TIES:
            tree = iit.ces(case.substrate(), case.state, case.units, ties=ties)
            found, true = flags(tree), true_flags(choices, tree, case.units)
            seen.append((*true, len(choices) > 1, tree["system"].attrs["reasons"]))
            if found == (true[0], "unknown") and len(choices) > phi_range.KEPT_STATES:
                unknown.append((case, ties))
            elif found != true:
                wrong.append((case, ties, found, true))
    return wrong, unknown, seen


@pytest.mark.oracle
def test_flags__agree_with_the_enumeration_of_all_choices():
    step = len(KINDS)
    small = [k for k in range(SYSTEMS) if UNITS[k // step % len(UNITS)] < 4]
    wrong, unknown, seen = compare(map(drawn, small[:FEW]))
    assert not wrong
    assert not unknown
    assert {(True, "yes"), (False, "no")} <= {(changed, phi) for changed, phi, *_ in seen}


@pytest.mark.oracle
@pytest.mark.slow
def test_flags__of_350_systems_agree_with_the_enumeration_of_all_choices():
    wrong, unknown, seen = compare(drawn(number) for number in range(SYSTEMS))
    assert not wrong
    assert len(unknown) <= 0.05 * len(TIES) * SYSTEMS
    several = [(changed, phi) for changed, phi, has_choice, _ in seen if has_choice]
    assert {(True, "yes"), (True, "no"), (False, "no")} == set(several)
    apart = {(changed, phi) for changed, phi, _, why in seen if why == "NO_STRONG_CONNECTIVITY"}
    assert {(True, "yes"), (False, "no")} <= apart


def two_units(is_renamed):
    """A feeds itself and B; the past states of A tie. Renamed, the values of A are swapped."""

    def distributions(values):
        a = 1 - values[0] if is_renamed else values[0]
        return a, 0.6 + 0.3 * a, 0.9 - 0.3 * a

    def own(values):
        _, on, _ = distributions(values)
        return (on, 1 - on) if is_renamed else (1 - on, on)

    def other(values):
        _, _, on = distributions(values)
        return 1 - on, on

    factors = [table((2, 2), [0], 2, own), table((2, 2), [0], 2, other)]
    cm = np.array([[1, 1], [0, 0]], bool)
    return Case("apart", 0, tuple(factors), cm, (0 if is_renamed else 1, 1), (0, 1))


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize(("is_renamed", "phi"), [(False, 0.0), (True, 0.2367309652504143)])
def test_flags__of_a_system_that_is_not_strongly_connected_count_its_tied_states(
    is_renamed, phi, ties
):
    case = two_units(is_renamed)
    tree = iit.ces(case.substrate(), case.state, ties=ties)
    assert tree["system"].attrs["reasons"] == "NO_STRONG_CONNECTIVITY"
    assert tree.attrs["big_phi"] == pytest.approx(phi, rel=1e-12)
    assert flags(tree) == (True, "yes")


GATES = {"A": "A", "B": "B", "C": "C", "X": "AB", "Y": "BC", "D": "X", "E": "Y"}


def two_causes_that_can_meet(order):
    """A, B, C keep themselves by 0.9; X = OR(A, B), Y = OR(B, C); D, E copy X, Y; all are on."""
    levels, cm = (2,) * 7, np.zeros((7, 7), bool)
    factors = []
    for i, unit in enumerate(order):
        inputs = [order.index(other) for other in GATES[unit]]
        cm[inputs, i] = True
        on = 0.9 if unit in "ABC" else 1.0

        def row(values, on=on):
            return (1 - on, on) if any(values) else (on, 1 - on)

        factors.append(table(levels, inputs, 2, row))
    return iit.Substrate.from_tpm(factors, connectivity=cm)


@pytest.mark.parametrize(
    ("order", "phi"), [("ACBXYDE", 4.646061078054963), ("BACXYDE", 4.922752744240858)]
)
def test_phi_tie_sensitive__counts_changes_that_no_choice_makes_alone(order, phi):
    tree = iit.ces(two_causes_that_can_meet(order), "1111111")
    assert tree.attrs["big_phi"] == pytest.approx(phi, rel=1e-12)
    assert flags(tree) == (True, "yes")


@pytest.mark.parametrize("ties", TIES)
def test_tie_sensitive__is_false_where_no_distinction_depends_on_the_tied_states(ties):
    substrate = iit.Substrate.from_tpm([[0.3, 0.3], [0.1, 0.8], [0.8, 0.1], [0.3, 0.3]])
    tree = iit.ces(substrate, "11", ties=ties)
    assert int(tree["system"]["n_tied_states"]) > 1
    assert tree.attrs["n_distinctions"] == 0
    assert flags(tree) == (False, "no")


DROPPED = [
    [0, 1, 0],
    [0, 1, 0],
    [1, 0, 1],
    [1, 1, 1],
    [1, 0, 0],
    [0, 1, 1],
    [0, 0, 1],
    [0, 1, 0],
]
"""In state 001 there is one admissible choice, of four distinctions; the published rule has three:
a tied purview agrees with the system in another state than the one that represents it."""


def test_flags__count_a_mechanism_that_the_published_rule_drops():
    substrate = iit.Substrate.from_tpm(np.array(DROPPED, float))
    published, canonical = (iit.ces(substrate, "001", ties=ties) for ties in TIES)
    assert (published.attrs["n_distinctions"], canonical.attrs["n_distinctions"]) == (3, 4)
    assert flags(published) == (True, "yes")
    assert flags(canonical) == (False, "no")


def all_majorities():
    factors, cm = symmetric("majority all", 4, 0.0)
    return iit.Substrate.from_tpm(factors, connectivity=cm)


def test_phi_tie_sensitive__of_very_many_choices_without_effect_is_no():
    assert flags(iit.ces(all_majorities(), "0000")) == (True, "no")


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_STATE_PAIRS", 1), ("BUDGET_STEPS", 0)], ids=["states", "steps"]
)
def test_phi_tie_sensitive__is_unknown_where_the_search_ends_early(name, value, monkeypatch):
    monkeypatch.setattr(tie_sensitivity, name, value)
    monkeypatch.setattr(phi_range, "KEPT_BEYOND_BUDGET", 2)
    assert flags(iit.ces(all_majorities(), "0000")) == (True, "unknown")


def test_flags__of_many_mechanisms_are_told_from_a_few_choices(monkeypatch):
    monkeypatch.setattr(tie_sensitivity, "MAX_SEARCHED_MECHANISMS", 0)
    told = []
    for case in map(drawn, range(FEW)):
        choices = Choices(reference.System(*case.given()))
        tree = iit.ces(case.substrate(), case.state, case.units)
        found, true = flags(tree), true_flags(choices, tree, case.units)
        assert found[0] == true[0]
        if found[1] != "unknown":
            told.append((found[1], true[1]))
    assert all(found == true for found, true in told)
    assert ("yes", "yes") in told
