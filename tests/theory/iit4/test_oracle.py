"""Every number of random small systems, against brute force straight from the definitions.

Six hundred systems of 2 to 4 units in a thorough run, each under both theories: see `examples`.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import UnreachableStateError
from tests import reference
from tests.strategies import ASYMMETRIC, SYMMETRIC, cases, examples

pytestmark = pytest.mark.oracle
TOLERANCE = 1e-9
THEORIES = ("iit4", "iit4-2026")


def close(ours, theirs):
    assert float(ours) == pytest.approx(theirs, rel=TOLERANCE, abs=TOLERANCE)


def same_system(ours, theirs, case, theory):
    """A system dataset says what the oracle says."""
    close(ours["phi"], theirs["phi"])
    close(ours["normalized_phi"], theirs["normalized_phi"])
    if theirs["null"]:
        assert ours.attrs["reasons"].split() == theirs["reasons"]
        assert not ours["cut"].values.any()
        return
    for side in ("cause", "effect"):
        state = tuple(ours[f"{side}_state"].values.tolist())
        assert state in theirs[f"tied_{side}_states"]
        assert state == theirs[f"{side}_state"]
        close(ours[f"intrinsic_information_{side}"], theirs[f"{side}_ii"])
        if theory == "iit4-2026":
            index = 0 if side == "cause" else 1
            d = tuple(theirs["differentiation"].values())[index]
            close(ours[f"differentiation_{side}"], d)
    severed = {(case.units[a], case.units[b]) for a, b in np.argwhere(ours["cut"].values)}
    assert severed in theirs["tied_partitions"]
    irreducible = min(theirs["cause_phi"], theirs["effect_phi"]) > 0
    if irreducible:
        assert int(ours["n_tied_partitions"]) == theirs["num_tied_partitions"]
        assert sorted(severed) == min(map(sorted, theirs["tied_partitions"]))
        lower = min(float(ours["phi_cause"]), float(ours["phi_effect"]))
        close(lower, min(theirs["cause_phi"], theirs["effect_phi"]))
    else:
        assert float(ours["phi"]) == 0.0


def same_distinctions(ours, theirs, units):
    """The same mechanisms, each with the same causes, effects and ties."""
    theirs = {d["mechanism"]: d for d in theirs}
    rows = [tuple(units[i] for i in np.flatnonzero(m)) for m in ours["mechanism_units"].values]
    assert sorted(rows) == sorted(theirs)
    for k, mechanism in enumerate(rows):
        row, one = ours.isel(mechanism=k), theirs[mechanism]
        close(row["phi"], one["phi"])
        for side in ("cause", "effect"):
            other = one[side]
            inside = np.flatnonzero(row[f"purview_{side}"].values)
            assert tuple(units[i] for i in inside) == other["purview"]
            assert tuple(row[f"state_{side}"].values[inside].tolist()) == other["state"]
            assert set(row[f"state_{side}"].values.tolist()) - set(other["state"]) <= {-1}
            close(row[f"phi_{side}"], other["phi"])
            close(row[f"intrinsic_information_{side}"], other["ii"])
            assert int(row[f"n_tied_purviews_{side}"]) == len(other["purview_ties"])
            assert int(row[f"n_tied_states_{side}"]) == len(other["state_ties"])


def same_relations(tree, theirs):
    node, relations = tree["relations"], theirs["relations"]
    assert node.attrs["count"] == str(relations["num"])
    assert int(node["count"]) == relations["num"]
    degrees = zip(
        node["degree"].values.tolist(), node["count_by_degree"].values.tolist(), strict=True
    )
    assert {k: v for k, v in degrees if v} == {
        k: count for k, (count, _) in relations["by_degree"].items()
    }
    close(node["sum_phi"], relations["sum_phi"])
    close(tree.attrs["sum_phi_relations"], relations["sum_phi"])
    close(tree.attrs["sum_phi_distinctions"], theirs["sum_phi_distinctions"])
    close(tree.attrs["big_phi"], theirs["big_phi"])


def within_bounds(tree):
    """Nothing exceeds the bounds of binary systems, mathematics.md, Eq. (41.2) and (41.3)."""
    system, data = tree["system"], tree["distinctions"].to_dataset()
    n, slack = system.sizes["unit"], 1 + 1e-9
    assert n == 1 or float(system["phi"]) <= n * (n - 1) * slack
    assert float(system["normalized_phi"]) <= slack
    size = data["mechanism_units"].sum("unit")
    for side in ("cause", "effect"):
        assert (data[f"phi_{side}"] <= size * data[f"purview_{side}"].sum("unit") * slack).all()
    assert data.sizes["mechanism"] <= 2**n - 1
    assert float(data["phi"].sum()) <= n**2 * 2**n / 2 * slack
    for relation in iit.relations.iterate(tree, top=10):
        least = min(float(data["phi"].sel(mechanism=name)) for name in relation.mechanisms)
        assert relation.phi <= least * slack
    assert int(tree["relations"]["count"]) <= 2 ** (2**n - 1) - 1 + 2**n - 1


def check(case, theory, search="auto"):
    """Package and oracle agree about a case, or both refuse it."""
    options = {"name": theory, "search": search}
    try:
        theirs = reference.ces(*case.given(), theory)
    except reference.Unreachable:
        with pytest.raises(UnreachableStateError, match="state"):
            iit.ces(case.substrate(), case.state, case.units, options)
        return
    tree = iit.ces(case.substrate(), case.state, case.units, options)
    same_system(tree["system"].to_dataset(), theirs["sia"], case, theory)
    for side in ("cause", "effect"):
        states = tuple(tree["system"][f"{side}_state"].values.tolist())
        assert states == theirs["resolution_state"][side]
    assert tree.attrs["n_irreducible_mechanisms"] == len(theirs["raw_distinctions"])
    same_distinctions(tree["distinctions"].to_dataset(), theirs["distinctions"], case.units)
    same_relations(tree, theirs)
    if set(case.levels) == {2}:
        within_bounds(tree)


@pytest.mark.parametrize("theory", THEORIES)
@examples(200)
@given(cases(kinds=ASYMMETRIC))
def test_ces__random_tables(theory, case):
    check(case, theory)


@pytest.mark.parametrize("theory", THEORIES)
@examples(120)
@given(cases(kinds=("gates",)))
def test_ces__gates(theory, case):
    check(case, theory)


@pytest.mark.parametrize("theory", THEORIES)
@examples(120)
@given(cases(kinds=SYMMETRIC))
def test_ces__symmetric_systems_with_many_ties(theory, case):
    check(case, theory)


@pytest.mark.parametrize("theory", THEORIES)
@examples(160)
@given(cases(background=True))
def test_ces__candidates_within_a_background(theory, case):
    check(case, theory)


@pytest.mark.parametrize("theory", THEORIES)
@examples(150)
@given(st.data())
def test_ces__among_connected_pairs_and_along_the_frontier(theory, data):
    """The searches of large sparse systems, asked for in small ones of all kinds."""
    kinds = data.draw(st.sampled_from((ASYMMETRIC, ("gates",), SYMMETRIC)))
    check(data.draw(cases(kinds=kinds, background=data.draw(st.booleans()))), theory, "sparse")


@examples(120)
@given(cases(background=True))
def test_sia__differentiation_at_the_current_state(case):
    options = {"name": "iit4-2026", "differentiation": "current"}
    try:
        theirs = reference.sia(*case.given(), "iit4-2026", "current")
    except reference.Unreachable:
        return
    ours = iit.sia(case.substrate(), case.state, case.units, options)
    same_system(ours, theirs, case, "iit4-2026")


def unreachable(case):
    """States of all units that no state leads to."""
    likelihood = Counter()
    for x in np.ndindex(case.levels):
        for y in np.ndindex(case.levels):
            p = np.prod([f[(*x, v)] for f, v in zip(case.factors, y, strict=True)])
            likelihood[y] += p
    return [y for y, p in likelihood.items() if p == 0]


@examples(40)
@given(cases(kinds=("gates", *SYMMETRIC), units=(2, 3), noises=(0.0,)))
def test_unreachable_states__both_refuse(case):
    states = unreachable(case)
    assume(states)
    for state in states[:4]:
        with pytest.raises(reference.Unreachable, match="current state"):
            reference.ces(case.factors, case.cm, state, case.units)
        for compute in (iit.sia, iit.ces):
            with pytest.raises(UnreachableStateError, match="state"):
                compute(case.substrate(), state)
