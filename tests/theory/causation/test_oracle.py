"""Accounts of random transitions, against brute force straight from the definitions.

A hundred transitions with up to three causes and three effects, background and all, and some
that never happen.
"""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import UnreachableStateError
from tests import reference
from tests.reference.causation import Transition, events, nexus
from tests.strategies import cases, examples, next_state

pytestmark = pytest.mark.oracle
TOLERANCE = 1e-9
SUMS = {"alpha_causes": ("cause",), "alpha_effects": ("effect",), "alpha": ("cause", "effect")}


@st.composite
def transitions(draw):
    """Arguments of the oracle: factors, graph, states, causes, effects, background rule."""
    case = draw(cases(units=(2, 4), background=draw(st.booleans())))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, before = len(case.levels), case.state
    after = tuple(
        int(rng.choice(k, p=f[before])) for k, f in zip(case.levels, case.factors, strict=True)
    )
    if draw(st.integers(0, 4)) == 0:  # what may not be able to follow
        after = next_state(rng, case.factors)
    sides = [
        tuple(sorted(rng.choice(n, size=rng.integers(1, min(n, 3) + 1), replace=False).tolist()))
        for _ in range(2)
    ]
    rule = draw(st.sampled_from(("causal", "2019")))
    return case.factors, case.cm.astype(int), before, after, *sides, rule


def happens(factors, before, after, units):
    """Whether some units can be as they are after the state before."""
    return all(factors[i][before][after[i]] > 0 for i in units)


def units_of(row):
    return tuple(np.flatnonzero(row).tolist())


@examples(125, suppress_health_check=list(HealthCheck))
@given(transitions())
def test_account__is_that_of_brute_force(drawn):
    factors, cm, before, after, causes, effects, rule = drawn
    substrate = iit.Substrate.from_tpm(list(factors), cm)
    try:
        made = Transition(*drawn)
    except reference.Unreachable:
        made = None
    if made is None and not posterior_needed(factors, causes, effects):
        return
    if made is None or not happens(factors, before, after, effects):
        with pytest.raises(UnreachableStateError, match=r"^after: "):
            iit.account(substrate, before, after, causes, effects, background=rule)
        return
    tree = iit.account(substrate, before, after, causes, effects, background=rule)
    places = np.array(made.units)
    links = tree["links"].to_dataset()
    ours = {}
    for k in range(links.sizes["link"]):
        one = links.isel(link=k)
        ties = one["tied_purview"].values[: int(one["n_tied_purviews"])]
        key = str(one["direction"].values), tuple(places[one["mechanism"].values].tolist())
        ours[key] = float(one["alpha"]), sorted(tuple(places[row].tolist()) for row in ties)
    theirs = made.account
    assert list(ours) == list(theirs)
    for key, (alpha, purviews) in theirs.items():
        assert ours[key][0] == pytest.approx(alpha, abs=TOLERANCE)
        assert ours[key][1] == sorted(purviews)
    for name, directions in SUMS.items():
        alpha, cuts = made.irreducibility(directions)
        assert float(tree["system"][name]) == pytest.approx(alpha, abs=TOLERANCE), name
    if cuts:
        cut = np.argwhere(tree["system"]["cut"].values)
        assert frozenset((places[a], places[b]) for a, b in cut) in cuts
        assert int(tree["system"]["n_tied_partitions"]) == len(cuts)


@examples(12, suppress_health_check=list(HealthCheck))
@given(cases(units=(4, 4)), st.sampled_from(("causal", "2019")))
def test_links__among_four_units_are_those_of_brute_force(case, rule):
    rng = np.random.default_rng(case.seed)
    after = tuple(int(rng.choice(f.shape[-1], p=f[case.state])) for f in case.factors)
    made = Transition(*case.given()[:2], case.state, after, case.units, case.units, rule)
    tree = iit.account(case.substrate(), case.state, after, background=rule)
    links = tree["links"].to_dataset()
    assert links.sizes["link"] == len(made.account)
    for k, ((direction, mechanism), (alpha, purviews)) in enumerate(made.account.items()):
        one = links.isel(link=k)
        assert str(one["direction"].values) == direction
        assert units_of(one["mechanism"].values) == mechanism
        assert float(one["alpha"]) == pytest.approx(alpha, abs=TOLERANCE)
        assert units_of(one["purview"].values) == min(purviews)
        assert int(one["n_tied_partitions"]) == len(
            made.alpha(direction, mechanism, min(purviews))[1]
        )


@examples(15)
@given(cases(units=(3, 4)), st.randoms(use_true_random=False))
def test_labels__do_not_matter(case, chance):
    order = list(range(len(case.levels)))
    chance.shuffle(order)
    other = case.permuted(order)
    rng = np.random.default_rng(case.seed)
    after = tuple(int(rng.choice(f.shape[-1], p=f[case.state])) for f in case.factors)
    first = iit.account(case.substrate(), case.state, after)
    second = iit.account(other.substrate(), other.state, [after[u] for u in order])
    for name in ("alpha", "alpha_causes", "alpha_effects", "sum_alpha", "n_tied_partitions"):
        expected = float(first["system"][name])
        assert float(second["system"][name]) == pytest.approx(expected, abs=TOLERANCE)
    found = [sorted(tree["links"]["alpha"].values.tolist()) for tree in (first, second)]
    assert found[0] == pytest.approx(found[1], abs=TOLERANCE)


def posterior_needed(factors, causes, effects):
    """Whether an effect depends on a unit that is neither cause nor effect."""
    outside = set(range(len(factors))) - {*causes, *effects}
    return any(np.ptp(factors[i], axis=a).max() > 0 for i in effects for a in outside)


@examples(12, suppress_health_check=list(HealthCheck))
@given(cases(units=(2, 3)), st.sampled_from(("causal", "2019")), st.booleans())
def test_nexus__is_that_of_brute_force(case, rule, follows):
    factors, cm = case.factors, case.cm.astype(int)
    rng = np.random.default_rng(case.seed)
    after = next_state(rng, factors)
    if follows:
        after = tuple(int(rng.choice(f.shape[-1], p=f[case.state])) for f in factors)
    if not happens(factors, case.state, after, np.flatnonzero(cm.any(axis=0))):
        with pytest.raises(UnreachableStateError, match=r"^after: "):
            iit.causal_nexus(case.substrate(), case.state, after, background=rule)
        return
    with suppress_unreachable():
        alpha, _, causes, effects = nexus(factors, cm, case.state, after, rule)
        found = iit.causal_nexus(case.substrate(), case.state, after, background=rule)
        assert found.attrs["alpha"] == pytest.approx(alpha, abs=TOLERANCE)
        if alpha > 0:
            labels = case.substrate().labels
            assert found.attrs["causes"] == "".join(labels[i] for i in causes)
            assert found.attrs["effects"] == "".join(labels[i] for i in effects)
        else:
            assert "links" not in found.children


def suppress_unreachable():
    """Where some candidate is not defined the oracle has no answer."""
    return suppress(reference.Unreachable)


@examples(15, suppress_health_check=list(HealthCheck))
@given(
    cases(units=(2, 3)) | cases(units=(3, 4), background=True),
    st.sampled_from(("causal", "2019")),
    st.integers(0, 99),
)
def test_events__are_those_of_brute_force(case, rule, seed):
    rng = np.random.default_rng(seed)
    factors, cm = case.factors, case.cm.astype(int)
    course = [case.state]
    for _ in range(2):
        course.append(tuple(int(rng.choice(f.shape[-1], p=f[course[-1]])) for f in factors))
    theirs = events(factors, cm, course, case.units, rule)
    found = iit.true_events(case.substrate(), *course, case.units, background=rule)["events"]
    places = np.array(case.units)
    ours = {}
    for k in range(found.sizes["event"]):
        one = found.isel(event=k)
        ours[tuple(places[one["mechanism"].values].tolist())] = one
    assert list(ours) == list(theirs)
    for mechanism, both in theirs.items():
        for side, (alpha, purviews) in zip(("cause", "effect"), both, strict=True):
            one = ours[mechanism]
            assert float(one[f"alpha_{side}"]) == pytest.approx(alpha, abs=TOLERANCE)
            purview = places[one[f"purview_{side}"].values]
            assert tuple(purview.tolist()) == min(purviews)
            assert int(one[f"n_tied_purviews_{side}"]) == len(purviews)
