"""Specified states by products of local tables, against a table over all states."""

import numpy as np
import pytest

from iitdask.kernels.frontier import eliminations
from iitdask.kernels.frontier import specified_causes as specified_causes_module
from iitdask.kernels.frontier import specified_effects as specified_effects_module
from iitdask.kernels.frontier.eliminations import LocalFactor, StateLimitError, order_factors
from iitdask.kernels.frontier.specified_causes import specified_causes
from iitdask.kernels.frontier.specified_effects import specified_effects
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


def local(factors):
    return [LocalFactor(i, tuple(read), table) for i, (read, table) in enumerate(factors)]


def listed(found):
    states = found.states.one_by_one()
    assert (states.count, states.first) == (found.states.count, found.states.first)
    assert len(np.unique(states.codes[0])) == states.count
    return states.codes[0].tolist(), states.weights[0].tolist()


def check_states(factors, levels, state):
    """Compare with brute force; how many products there are on either side."""
    likely, products = sparse_systems.state_products(factors, levels, state), []
    if likely.sum() > 0:
        found = specified_causes(local(factors), levels, state)
        products.append(len(found.states.products))
        ties = np.flatnonzero(likely >= likely.max() * (1 - 1e-12))
        p = likely.max() / likely.sum()
        assert listed(found)[0] == ties.tolist()
        assert found.information == pytest.approx(p * np.log2(p * len(likely)), abs=1e-12)
        np.testing.assert_allclose(listed(found)[1], likely[ties] / likely.sum(), atol=1e-14)
    codes = np.array(np.unravel_index(np.arange(len(likely)), levels, order="F")).T
    whole = np.array([sparse_systems.state_products(factors, levels, z) for z in codes])
    now = int(np.ravel_multi_index(state, levels, order="F"))
    p, q = whole[:, now], whole.mean(axis=1)
    bits = np.zeros(len(p))
    bits[p > 0] = p[p > 0] * np.log2(p[p > 0] / q[p > 0])
    found = specified_effects(local(factors), levels, state)
    ties = np.flatnonzero(bits >= bits.max() - 1e-12 * bits.max() - 1e-15)
    assert listed(found)[0] == ties.tolist()
    np.testing.assert_allclose(listed(found)[1], p[ties], atol=1e-14)
    assert found.information == pytest.approx(bits.max(), abs=1e-12)
    return [*products, len(found.states.products)]


@pytest.mark.parametrize("seed", range(40))
def test_states__are_those_of_largest_information(seed):
    check_states(*drawn(seed))


def test_states__too_many_to_be_listed_are_unions_of_products(monkeypatch):
    monkeypatch.setattr(specified_causes_module, "MAX_SPECIFIED", 1)
    monkeypatch.setattr(specified_effects_module, "MAX_SPECIFIED", 0)
    several = 0
    for seed in range(100):
        monkeypatch.setattr(specified_causes_module, "MAX_LISTED", 1 + seed % 4)
        several += max(check_states(*drawn(seed, (2, 6)))) > 1
    assert several > 20


def test_causes__of_a_ring_are_counted_by_cutting_it_apart():
    both = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    ring = local([(((i - 1) % 40, (i + 1) % 40), both) for i in range(40)])
    found = specified_causes(ring, [2] * 40, [0] * 40)
    lucas = [2, 1]  # of two rings of 20: sets of which no two are neighbours
    for _ in range(20):
        lucas.append(lucas[-1] + lucas[-2])
    assert found.states.count == lucas[20] ** 2
    line = local([(((i - 1) % 40, i), both) for i in range(40)])
    found = specified_causes(line, [2] * 40, [0] * 40)
    for _ in range(20):
        lucas.append(lucas[-1] + lucas[-2])
    assert (found.states.count, found.states.first) == (lucas[40], 0)
    assert 1 < len(found.states.products) < 64


def test_effects__all_tie_where_the_current_state_has_none():
    always = np.array([0.0, 1.0]), np.array([[0.25, 0.0, 0.75]] * 2), np.array([[1.0, 0.0]] * 3)
    factors = local(list(zip(([], [0], [1]), always, strict=True)))
    found = specified_effects(factors, [2, 3, 2], [1, 2, 0])
    products = [a * b * c for c in (1, 0) for b in (0.25, 0, 0.75) for a in (0, 1)]
    assert listed(found) == (list(range(12)), products)
    assert found.information == 0.0
    factors = local([([i], np.full((2, 2), 0.5)) for i in range(60)])
    found = specified_effects(factors, [2] * 60, [0] * 60)
    assert (found.states.count, found.states.first) == (2**60, 0)


def test_states__of_units_that_nothing_reads_tie_without_being_listed():
    copy, fair = np.eye(2), np.array([0.5, 0.5])
    factors = local([([0], copy), ([0], copy), *[([], fair)] * 38])
    cause = specified_causes(factors, [2] * 40, [1, 1, *[0] * 38])
    assert (cause.states.count, cause.states.first) == (2**39, 1)
    assert cause.information == 2.0**-39
    effect = specified_effects(factors, [2] * 40, [1] * 40)
    assert (effect.states.count, effect.states.first) == (2**38, 3)
    assert effect.information == 2.0**-38


def test_states__beyond_the_limits_are_refused(monkeypatch):
    fair = local([([0, 1], np.array([[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.6, 0.4]]]))] * 2)
    monkeypatch.setattr(specified_causes_module, "MAX_SPECIFIED", 1)
    monkeypatch.setattr(specified_causes_module, "MAX_PRODUCTS", 1)
    with pytest.raises(StateLimitError, match="more than 1 cause states tie"):
        specified_causes(fair, [2] * 2, [0] * 2)
    monkeypatch.setattr(specified_effects_module, "MAX_WEIGHED", 1)
    monkeypatch.setattr(specified_effects_module, "MAX_LISTED", 1)
    with pytest.raises(StateLimitError, match="too many effect states"):
        specified_effects(fair, [2] * 2, [0] * 2)
    monkeypatch.setattr(eliminations, "MAX_JOINT_VALUES", 4)
    wide = local([([0, 1, 2], np.full((2, 2, 2, 2), 0.5))] * 3)
    with pytest.raises(StateLimitError, match="share too many inputs"):
        order_factors(wide, [2] * 3, range(3))
