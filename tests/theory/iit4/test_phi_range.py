"""The least and the largest Phi over joint choices, against the definition for each of them."""

from itertools import product

import numpy as np
import pytest

from iitdask.theory.iit4 import phi_range
from iitdask.theory.iit4.phi_range import (
    KEPT_STATES,
    Binding,
    BindingChoices,
    SearchBudget,
    big_phi_range,
)
from iitdask.theory.iit4.relations import FIXED_POINT_BITS
from iitdask.theory.iit4.tie_sensitivity import BUDGET_STEPS
from tests.reference.tie_choices import big_phis

UNIT_STATES = 6


def sides(rng, unit_states=UNIT_STATES):
    """A cause and an effect, as masks of unit-states."""
    return tuple(int(mask) for mask in rng.integers(1, 1 << unit_states, 2))


def drawn(rng, distinctions, most, unit_states=UNIT_STATES):
    """Phi of every distinction and its choices of cause and effect."""
    levels = rng.choice([0.25, 0.5, 1.0, 1.5], distinctions)  # some are equal
    options = [[sides(rng, unit_states) for _ in range(rng.integers(1, most + 1))] for _ in levels]
    return levels, options


def given(phi, options):
    def binding(cause, effect):
        return Binding(cause | effect, (cause & effect).bit_count())

    return [
        BindingChoices(p, tuple(dict.fromkeys(binding(*pair) for pair in pairs)))
        for p, pairs in zip(phi, options, strict=True)
    ]


def enumerated(phi, options):
    chosen = np.array(list(product(*options))).reshape(-1, len(phi), 2)
    return big_phis(phi, chosen[..., 0], chosen[..., 1])


def in_bits(value):
    return value / 2**FIXED_POINT_BITS


@pytest.mark.parametrize("seed", range(60))
def test_big_phi_range__is_that_of_all_joint_choices(seed):
    rng = np.random.default_rng(seed)
    phi, options = drawn(rng, int(rng.integers(1, 7)), 4)
    budget = SearchBudget(BUDGET_STEPS)
    least, largest = map(in_bits, big_phi_range(given(phi, options), budget))
    phis = enumerated(phi, options)
    assert least == pytest.approx(phis.min(), rel=1e-12)
    assert largest == pytest.approx(phis.max(), rel=1e-12)
    assert not budget.is_exhausted


def test_big_phi_range__of_no_distinctions_is_nothing():
    assert big_phi_range([], SearchBudget(0)) == (0, 0)


def test_big_phi_range__of_groups_without_a_unit_state_in_common_adds_up():
    rng = np.random.default_rng(3)
    groups = [drawn(rng, 3, 3, 4) for _ in range(3)]
    phi = np.concatenate([levels for levels, _ in groups])
    apart = [
        [tuple(mask << 4 * k for mask in pair) for pair in pairs]
        for k, (_, options) in enumerate(groups)
        for pairs in options
    ]
    found = map(in_bits, big_phi_range(given(phi, apart), SearchBudget(BUDGET_STEPS)))
    phis = [enumerated(levels, options) for levels, options in groups]
    ends = sum(p.min() for p in phis), sum(p.max() for p in phis)
    assert tuple(found) == pytest.approx(ends, rel=1e-12)


@pytest.mark.parametrize(("distinctions", "choices"), [(12, 2), (6, 4), (4, 8), (3, 16), (2, 64)])
def test_big_phi_range__of_4096_joint_choices_is_exact(distinctions, choices):
    assert choices**distinctions == KEPT_STATES
    rng = np.random.default_rng(distinctions)
    phi = rng.uniform(0.1, 1.0, distinctions)
    options = [[sides(rng, 20) for _ in range(choices)] for _ in phi]
    budget = SearchBudget(BUDGET_STEPS)
    for tied in options:
        assert budget.enter(len(tied)) == choices
    least, largest = map(in_bits, big_phi_range(given(phi, options), budget))
    assert not budget.is_exhausted
    assert budget.steps > 0
    phis = np.concatenate([enumerated(phi, [[first], *options[1:]]) for first in options[0]])
    assert (least, largest) == pytest.approx((phis.min(), phis.max()), rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_big_phi_range__beyond_its_budget_is_attained_and_says_so(seed, monkeypatch):
    monkeypatch.setattr(phi_range, "KEPT_BEYOND_BUDGET", 2)
    rng = np.random.default_rng(seed)
    phi, options = drawn(rng, 6, 4)
    phis, budget = enumerated(phi, options), SearchBudget(0)
    for end in map(in_bits, big_phi_range(given(phi, options), budget)):
        assert np.isclose(phis, end, rtol=1e-12).any()
    assert budget.is_exhausted


def test_big_phi_range__of_more_distinctions_than_a_double_can_count_sets_of():
    union = Binding(0b11, 1)
    tied = BindingChoices(0.5, (union, Binding(0b10, 1)))
    least, largest = big_phi_range([BindingChoices(1.0, (union,))] * 1100 + [tied], SearchBudget(9))
    assert largest > least > 2 ** (FIXED_POINT_BITS + 1099)
