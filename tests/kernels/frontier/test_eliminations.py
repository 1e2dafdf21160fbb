"""Specified states by products of local tables, against a table over all states."""

import numpy as np
import pytest

from iitdask.kernels.frontier import eliminations
from iitdask.kernels.frontier.eliminations import (
    LocalFactor,
    StateLimitError,
    order_factors,
    specified_causes,
    specified_effects,
)
from tests.reference import sparse_systems
from tests.reference.sparse_systems import GRAPHS


def drawn(seed, units=(1, 6)):
    rng = np.random.default_rng(seed)
    levels = rng.choice([2, 2, 3], rng.integers(*units)).tolist()
    kind = ("noisy", "gates", "noisy gates")[seed % 3]
    factors, state = sparse_systems.factors(GRAPHS[seed % 5], kind, levels, rng)
    for i in range(0, len(factors), 3):  # units that nothing reads
        read, table = factors[i]
        factors[i] = (read[:-1], table.mean(axis=len(read) - 1))
    state = [int(t[tuple(state[a] for a in r)].argmax()) for r, t in factors]
    return factors, levels, state


def states_of(factors, levels):
    return order_factors([LocalFactor(tuple(r), t) for r, t in factors], levels)


@pytest.mark.parametrize("seed", range(40))
def test_states__are_those_of_largest_information(seed):
    factors, levels, state = drawn(seed)
    order = states_of(factors, levels)
    likely = sparse_systems.state_products(factors, levels, state)
    if likely.sum() > 0:
        found = specified_causes(order, state)
        ties = np.flatnonzero(likely >= likely.max() * (1 - 1e-12))
        p = likely.max() / likely.sum()
        assert found.states.tolist() == ties.tolist()
        assert found.information == pytest.approx(p * np.log2(p * len(likely)), abs=1e-12)
        np.testing.assert_allclose(found.selectivity, likely[ties] / likely.sum(), atol=1e-14)
    codes = np.array(np.unravel_index(np.arange(len(likely)), levels, order="F")).T
    whole = np.array([sparse_systems.state_products(factors, levels, z) for z in codes])
    now = int(np.ravel_multi_index(state, levels, order="F"))
    p, q = whole[:, now], whole.mean(axis=1)
    bits = np.zeros(len(p))
    bits[p > 0] = p[p > 0] * np.log2(p[p > 0] / q[p > 0])
    found = specified_effects(order, state)
    ties = np.flatnonzero(bits >= bits.max() - 1e-12 * bits.max() - 1e-15)
    assert found.states.tolist() == ties.tolist()
    np.testing.assert_allclose(found.selectivity, p[ties], atol=1e-14)
    assert found.information == pytest.approx(bits.max(), abs=1e-12)


def test_effects__all_tie_where_the_current_state_has_none(monkeypatch):
    always = np.array([0.0, 1.0]), np.array([[0.25, 0.0, 0.75]] * 2), np.array([[1.0, 0.0]] * 3)
    order = states_of(list(zip(([], [0], [1]), always, strict=True)), [2, 3, 2])
    found = specified_effects(order, [1, 2, 0])
    assert found.states.tolist() == list(range(12))
    assert found.information == 0.0
    products = [a * b * c for c in (1, 0) for b in (0.25, 0, 0.75) for a in (0, 1)]
    np.testing.assert_array_equal(found.selectivity, products)
    monkeypatch.setattr(eliminations, "MAX_SPECIFIED", 11)
    with pytest.raises(StateLimitError, match="has no effect: all of 12 states tie"):
        specified_effects(order, [1, 2, 0])


def test_states__beyond_the_limits_are_refused(monkeypatch):
    factors = [([], np.array([0.5, 0.5])) for _ in range(4)]
    order = states_of(factors, [2] * 4)
    monkeypatch.setattr(eliminations, "MAX_SPECIFIED", 5)
    with pytest.raises(StateLimitError, match="more than 5 cause states tie"):
        specified_causes(order, [0] * 4)
    with pytest.raises(StateLimitError, match="too many effect states"):
        specified_effects(order, [0] * 4)
    monkeypatch.setattr(eliminations, "MAX_JOINT_VALUES", 4)
    wide = [([0, 1, 2], np.full((2, 2, 2, 2), 0.5))] * 3
    with pytest.raises(StateLimitError, match="share too many inputs"):
        states_of(wide, [2] * 3)
