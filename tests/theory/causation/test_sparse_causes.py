"""Accounts from connected occurrences alone are those from sums over all states of the causes."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.model.transition import Transition
from iitdask.study.problem import Problem
from iitdask.study.run import run_job
from iitdask.theory.catalog import theory_options
from iitdask.theory.causation import local_values, partitions
from tests.reference.causation import Transition as ReferenceTransition
from tests.reference.mechanisms import admissible
from tests.reference.substrate import CAUSE, EFFECT, subsets
from tests.runs import Blocks, bits
from tests.strategies import cases, examples, gate

TOLERANCE = 1e-12


@st.composite
def sparse_transitions(draw):
    """Arguments of the oracle: units with up to three inputs, some of no effect, some k-ary."""
    n = draw(st.integers(3, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = tuple(3 if n < 5 and rng.random() < 0.2 else 2 for _ in range(n))
    zeros = draw(st.booleans())
    cm, factors = np.zeros((n, n), int), []
    for unit in range(n):
        inputs = rng.choice(n, size=rng.integers(0, 3), replace=False)
        shape = [levels[u] if u in inputs else 1 for u in range(n)]
        weights = rng.random((*shape, levels[unit])) + 0.05
        if zeros:
            weights *= rng.random(weights.shape) < 0.6
            weights[..., 0] += weights.sum(axis=-1) == 0
        table = weights / weights.sum(axis=-1, keepdims=True)
        factors.append(np.broadcast_to(table, (*levels, levels[unit])).copy())
        cm[inputs, unit] = 1
        cm[rng.integers(n), unit] |= rng.random() < 0.2
    before = tuple(int(rng.integers(k)) for k in levels)
    after = tuple(int(rng.choice(k, p=f[before])) for k, f in zip(levels, factors, strict=True))
    sides = [tuple(range(n))] * 2
    if draw(st.booleans()):
        sides = [
            tuple(sorted(rng.choice(n, size=rng.integers(1, n), replace=False).tolist()))
            for _ in range(2)
        ]
    return factors, cm, before, after, *sides, draw(st.sampled_from(("causal", "2019")))


def by_connections():
    """Have every account computed from connected occurrences, as if that took no time."""
    free = {"SECONDS_PER_STEP": 0, "SECONDS_PER_SUMMAND": 0, "SECONDS_PER_PART": 0}
    return patch.multiple(local_values, MIN_LOCAL_CAUSES=0, **free)


def account_of(drawn):
    factors, cm, before, after, causes, effects, rule = drawn
    substrate = iit.Substrate.from_tpm(list(factors), cm)
    return iit.account(substrate, before, after, causes, effects, background=rule)


@examples(200, suppress_health_check=list(HealthCheck))
@given(sparse_transitions())
def test_account__does_not_depend_on_the_way(drawn):
    dense = account_of(drawn)
    with by_connections():
        sparse = account_of(drawn)
    assert sparse.attrs.keys() == dense.attrs.keys()
    assert sparse["system"].attrs == dense["system"].attrs
    for node in ("links", "system"):
        ours, theirs = sparse[node].to_dataset(), dense[node].to_dataset()
        assert list(ours.variables) == list(theirs.variables)
        for name, values in theirs.variables.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(
                    ours[name].values, values.values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
                )
            else:
                assert (ours[name].values == values.values).all(), name


@examples(200)
@given(sparse_transitions())
def test_probabilities__are_those_of_sums_over_all_states(drawn):
    transition = transition_of(drawn)
    rule = drawn[-1]
    (stage, _) = partitions.value_stages(transition, rule, partitions.pair_searches(transition))
    with by_connections():
        both = partitions.pair_searches(transition)
        (other, _) = partitions.value_stages(transition, rule, both)
    assert stage.prepare is partitions.prepare_cause_values
    assert other.prepare is partitions.prepare_local_cause_values
    rows = (slice(0, stage.grid.shape[0]),)
    theirs, ours = (
        partitions.fill_values(each.prepare(each.inputs), rows)["bits"] for each in (stage, other)
    )
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def transition_of(drawn):
    factors, cm, before, after, causes, effects, _ = drawn
    substrate = iit.Substrate.from_tpm(list(factors), cm)
    return Transition.build(substrate, before, after, causes, effects)


def links_beside_brute_force(case, published, forced):
    """Return the links of a drawn case, found in the forced way, and the oracle's account."""
    rule = "2019" if published else "causal"
    rng = np.random.default_rng(case.seed)
    after = tuple(int(rng.choice(f.shape[-1], p=f[case.state])) for f in case.factors)
    made = ReferenceTransition(*case.given()[:2], case.state, after, case.units, case.units, rule)
    with forced:
        tree = iit.account(
            case.substrate(), case.state, after, case.units, case.units, background=rule
        )
    return tree["links"].to_dataset(), made


def assert_links_are_those_of(made, links):
    places = np.array(made.units)
    assert links.sizes["link"] == len(made.account)
    for k, ((direction, mechanism), (alpha, purviews)) in enumerate(made.account.items()):
        one = links.isel(link=k)
        ties = one["tied_purview"].values[: int(one["n_tied_purviews"])]
        assert str(one["direction"].values) == direction
        assert tuple(places[one["mechanism"].values].tolist()) == mechanism
        assert float(one["alpha"]) == pytest.approx(alpha, abs=1e-9)
        assert sorted(tuple(places[row].tolist()) for row in ties) == sorted(purviews)


@pytest.mark.oracle
@examples(60, suppress_health_check=list(HealthCheck))
@given(cases(units=(3, 4), kinds=("sparse", "gates", "copy ring"), background=True), st.booleans())
def test_links__are_those_of_brute_force(case, published):
    links, made = links_beside_brute_force(case, published, by_connections())
    assert_links_are_those_of(made, links)


@pytest.mark.oracle
@examples(60, suppress_health_check=list(HealthCheck))
@given(cases(units=(3, 3), kinds=("sparse", "copy ring"), background=True), st.booleans())
def test_pairs_that_fall_apart__lose_nothing_or_carry_idle_units(case, published):
    rule = "2019" if published else "causal"
    rng = np.random.default_rng(case.seed)
    after = tuple(int(rng.choice(f.shape[-1], p=f[case.state])) for f in case.factors)
    made = ReferenceTransition(*case.given()[:2], case.state, after, case.units, case.units, rule)
    cm = made.cm
    for direction in (CAUSE, EFFECT):
        edges = cm.T if direction == CAUSE else cm
        for mechanism in subsets(case.units):
            for purview in subsets(case.units):
                if admissible(cm, direction, mechanism, purview):
                    continue
                reached = tuple(u for u in purview if edges[list(mechanism), u].any())
                alpha = made.alpha(direction, mechanism, purview)[0]
                if reached and admissible(cm, direction, mechanism, reached):
                    expected = made.alpha(direction, mechanism, reached)[0]
                else:
                    expected = 0.0
                assert alpha == pytest.approx(expected, abs=1e-10)


def ring(n, width):
    """A transition of noisy gates that read themselves and their neighbours."""
    factors = [
        ([(i + k) % n for k in range(width)], gate((2,) * width, range(width), "or", 0.1))
        for i in range(n)
    ]
    substrate = iit.Substrate.from_factors(factors)
    return Transition.build(substrate, (1, 0) * (n // 2), (1,) * n)


def values_stage(transition):
    both = partitions.pair_searches(transition)
    return partitions.value_stages(transition, "causal", both)[0]


def test_way__follows_from_the_connections():
    assert values_stage(ring(10, 2)).prepare is partitions.prepare_local_cause_values
    assert values_stage(ring(10, 8)).prepare is partitions.prepare_cause_values
    assert values_stage(ring(8, 2)).prepare is partitions.prepare_cause_values


def test_blocks__one_and_many_give_the_same_bits():
    problem = Problem(ring(6, 2), theory_options("causation2019"), "account")
    with by_connections():
        whole, blocks = run_job(problem), Blocks()
        tree = run_job(problem, observers=[blocks], block_seconds=1e-9)
    assert blocks.filled > 16
    assert bits(tree) == bits(whole)


def test_occurrence_without_a_past__is_refused():
    """Two copies of one unit cannot differ, and nothing before leads to it."""
    units = [{"gate": "BIAS", "probability": 0.5}, *({"gate": "COPY", "inputs": ["A"]},) * 2]
    substrate = iit.Substrate.from_units(units)
    apart = Transition(substrate, (1, 0, 0), (0, 0, 1), (0, 1, 2), (0, 1, 2), 3)
    with by_connections():
        both = partitions.pair_searches(apart)
        stage = partitions.value_stages(apart, "causal", both)[0]
        assert stage.prepare is partitions.prepare_local_cause_values
        found = partitions.fill_values(stage.prepare(stage.inputs), (slice(0, 8),))["bits"]
    undefined = np.isnan(found[:, -1])
    assert both[0].masks[undefined].tolist() == [0b110, 0b111]


@pytest.mark.parametrize("mask", range(1, 16))
def test_components__are_those_of_a_line(mask):
    """0 - 1 - 2, and 3 alone."""
    neighbours = np.array([0b011, 0b111, 0b110, 0b1000])
    first = {0b0101: 1, 0b1001: 1, 0b1010: 2, 0b1011: 3, 0b1100: 4, 0b1101: 1, 0b1110: 6, 0b1111: 7}
    found = local_values.first_components(np.array([mask]), neighbours)[0]
    assert found == first.get(mask, mask)
