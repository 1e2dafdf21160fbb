"""Candidate systems: both tables against a plain sum over all states, and refusals."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iitdask.errors import MemoryRefusedError, StateError, UnreachableStateError
from iitdask.model.background import Background
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from tests.strategies import examples


def states(levels):
    """All states, little-endian."""
    return [x[::-1] for x in itertools.product(*(range(k) for k in reversed(levels)))]


def brute(substrate, now, units):
    """Effect and cause tables by sums over all states; None if unreachable."""

    def row(i, x):
        return substrate.factors[i].table[tuple(x[p] for p in substrate.factors[i].parents)]

    everyone = range(substrate.n_units)
    outside = [i for i in everyone if i not in units]
    weight = {x: np.prod([row(j, x)[now[j]] for j in everyone]) for x in states(substrate.levels)}
    total = sum(weight.values())
    if total == 0:
        return None
    posterior = {}
    for x, w in weight.items():
        key = tuple(x[i] for i in outside)
        posterior[key] = posterior.get(key, 0) + w / total

    def whole(inner, outer):
        x = dict(zip(units, inner, strict=True)) | dict(zip(outside, outer, strict=True))
        return [x[i] for i in everyone]

    held = [now[i] for i in outside]
    effect, cause, reachable = [], [], 0.0
    for inner in states([substrate.levels[i] for i in units]):
        x = whole(inner, held)
        reachable += np.prod([row(i, x)[now[i]] for i in units])
        effect.append(np.concatenate([row(i, x) for i in units]))
        averaged = [
            q * np.concatenate([row(i, whole(inner, w)) for i in units])
            for w, q in posterior.items()
        ]
        cause.append(sum(averaged))
    return (np.array(effect), np.array(cause)) if reachable > 0 else None


def universe(rng, n, most_levels=3, most_inputs=3):
    levels = [int(k) for k in rng.integers(2, most_levels + 1, size=n)]
    factors = []
    for i in range(n):
        count = int(rng.integers(0, min(n, most_inputs) + 1))
        inputs = [int(j) for j in rng.choice(n, size=count, replace=False)]
        shape = tuple(levels[j] for j in inputs)
        if rng.integers(2):
            table = np.eye(levels[i])[rng.integers(levels[i], size=shape)]
        else:
            table = rng.dirichlet([0.5] * levels[i], size=shape)
        factors.append((inputs, table))
    return Substrate.from_factors(factors)


@given(st.integers(0, 2**32), st.integers(1, 6))
@examples(150)
def test_tables__equal_brute_force(seed, n):
    rng = np.random.default_rng(seed)
    substrate = universe(rng, n)
    now = tuple(int(rng.integers(k)) for k in substrate.levels)
    units = sorted(rng.choice(n, size=int(rng.integers(1, n + 1)), replace=False).tolist())
    expected = brute(substrate, now, units)
    if expected is None:
        with pytest.raises(UnreachableStateError, match="is unreachable"):
            System.build(substrate, now, units)
        return
    system = System.build(substrate, now, units)
    assert np.array_equal(system.effect, expected[0])
    np.testing.assert_allclose(system.cause, expected[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_tables__equal_brute_force_on_seven_units(seed):
    rng = np.random.default_rng(seed)
    tables = [(range(7), rng.dirichlet([0.3, 0.3], size=(2,) * 7)) for _ in range(4)]
    sparse = [([i - 1, i - 3], rng.dirichlet([1, 1], size=(2, 2))) for i in range(4, 7)]
    substrate = Substrate.from_factors([*tables, *sparse])
    now = tuple(rng.integers(2, size=7).tolist())
    system = System.build(substrate, now, [0, 4, 5])
    effect, cause = brute(substrate, now, [0, 4, 5])
    assert np.array_equal(system.effect, effect)
    np.testing.assert_allclose(system.cause, cause, rtol=0, atol=1e-14)


BASIC = Substrate.from_units(
    [
        {"label": "A", "gate": "OR", "inputs": ["B", "C"]},
        {"label": "B", "gate": "COPY", "inputs": ["C"]},
        {"label": "C", "gate": "XOR", "inputs": ["A", "B"]},
    ]
)


def test_whole_system__cause_is_effect():
    system = System.build(BASIC, "100")
    assert system.cause is system.effect
    assert system.effect.shape == (8, 6)
    rows = [[int(c) for c in r] for r in ["000", "001", "101", "100", "110", "111", "111", "110"]]
    assert system.effect[:, 1::2].tolist() == rows
    assert (system.n, system.levels, system.labels) == (3, (2, 2, 2), ("A", "B", "C"))
    assert not system.effect.flags.writeable


def test_local_numbers():
    mixed = Substrate.from_factors([((), [0.5, 0.5]), ((), [0.2, 0.3, 0.5]), ((), [0.5, 0.5])])
    system = System.build(mixed, "121", "BC")
    assert (system.state, system.local_state, system.code) == ((1, 2, 1), (2, 1), 2 + 3 * 1)
    assert system.connectivity.tolist() == [[False, False], [False, False]]
    assert system.effect[4].tolist() == [0.2, 0.3, 0.5, 0.5, 0.5]


def test_background__held_for_the_effect_averaged_for_the_cause():
    system = System.build(BASIC, "110", "BC")
    # B is 1, so C was 1; C is 0, so A equalled B: nothing is known about A alone.
    assert system.effect.tolist() == [[1, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 1, 0]]
    assert system.cause.tolist() == [[1, 0, 0.5, 0.5]] * 2 + [[0, 1, 0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("state", "units", "error", "message"),
    [
        ("10", None, StateError, "expected 3 values"),
        ("100", "D", StateError, "no unit is called 'D'"),
        ("100", [], StateError, "expected at least one unit, got none"),
        ("010", None, UnreachableStateError, r"^state 010 is unreachable: .*\(impossible: B=1\)"),
        ("100", "A", UnreachableStateError, r"for the system A: .*\(impossible: A=1\)"),
    ],
)
def test_refuses(state, units, error, message):
    with pytest.raises(error, match=message):
        System.build(BASIC, state, units)


def test_background__of_another_state_is_refused():
    background = System.build(BASIC, "110").background
    assert System.build(BASIC, "110", "BC", background=background).background is background
    with pytest.raises(StateError, match=r"expected that of state \(1, 1, 1\), got \(1, 1, 0\)"):
        System.build(BASIC, "111", background=background)


def test_fingerprint__decides_by_results():
    base = System.build(BASIC, "110")
    again = pickle.loads(pickle.dumps(base))
    assert again.fingerprint == base.fingerprint
    assert not again.effect.flags.writeable
    others = [
        System.build(BASIC, "111"),
        System.build(BASIC, "110", "BC"),
        System.build(BASIC, "110", "C"),
    ]
    declared = Substrate.from_factors(
        [(f.parents, f.table) for f in BASIC.factors], connectivity=np.ones((3, 3))
    )
    others.append(System.build(declared, "110"))
    assert len({s.fingerprint for s in [base, *others]}) == 5


def random_network(n, inputs, noise, seed=3):
    rng = np.random.default_rng(seed)
    factors = []
    for _ in range(n):
        chosen = [int(j) for j in rng.choice(n, size=inputs, replace=False)]
        on = np.abs(rng.integers(2, size=(2,) * inputs) - noise)
        factors.append((chosen, np.stack([1 - on, on], -1)))
    substrate = Substrate.from_factors(factors)
    now = rng.integers(2, size=n)
    for _ in range(3):
        now = np.array([f.table[tuple(now[list(f.parents)])].argmax() for f in substrate.factors])
    return substrate, tuple(now.tolist())


@pytest.mark.parametrize(("n", "inputs", "noise"), [(200, 2, 0), (200, 2, 0.02), (2000, 2, 0)])
def test_large_sparse_network__needs_no_table_of_all_states(n, inputs, noise):
    substrate, now = random_network(n, inputs, noise)
    background = Background.from_state(substrate, now)
    done = 0
    for first in range(0, n - 3, n // 20):
        try:
            system = System.build(substrate, now, range(first, first + 3), background=background)
        except UnreachableStateError:
            continue
        done += 1
        np.testing.assert_allclose(system.cause.sum(axis=1), 3, atol=1e-12)
    assert done


def test_posterior_of_a_large_network__equals_its_part():
    """A chain of modules: the posterior of one module does not depend on how many there are."""
    module = [((1,), [[0.9, 0.1], [0.2, 0.8]]), ((0, 1), [[[1, 0], [0, 1]], [[0, 1], [0.5, 0.5]]])]
    many = [((tuple(i + 2 * m for i in ins)), t) for m in range(500) for ins, t in module]
    small = System.build(Substrate.from_factors(module), (1, 1), [0])
    large = System.build(Substrate.from_factors(many), (1, 1) * 500, [0])
    np.testing.assert_allclose(large.cause, small.cause, atol=1e-15)


def test_one_connected_component_of_thousands_does_not_underflow():
    n, rng = 3000, np.random.default_rng(5)
    tables = rng.dirichlet([0.5, 0.5], size=(n, 2, 2))  # unit i reads i-1 and itself
    tables[0, 1] = tables[0, 0]
    chain = [((max(i - 1, 0), i) if i else (0,), t if i else t[0]) for i, t in enumerate(tables)]
    now = rng.integers(2, size=n).tolist()
    likelihood = [tables[i, :, :, now[i]] for i in range(n)]
    forward, backward = likelihood[0][0], np.ones(2)
    for i in range(1, 1500):
        forward = forward @ likelihood[i]
        forward /= forward.sum()
    for i in reversed(range(1500, n)):
        backward = likelihood[i] @ backward
        backward /= backward.sum()
    posterior = forward * backward / (forward @ backward)  # of unit 1499
    system = System.build(Substrate.from_factors(chain), now, [1500])
    expected = np.einsum("w,wsv->sv", posterior, tables[1500])
    np.testing.assert_allclose(system.cause, expected, rtol=1e-12)


def test_memory__names_the_largest_table():
    substrate, now = random_network(200, 3, 0.1)
    with pytest.raises(MemoryRefusedError, match=r"a table over \d+ units \(U\d+.* GiB, more than"):
        System.build(substrate, now, [0, 1, 2]).cause  # noqa: B018
    wide = System.build(random_network(60, 2, 0.1)[0], (0,) * 60)
    with pytest.raises(MemoryRefusedError, match="system of 60 units: its table of 1152921504606"):
        wide.effect  # noqa: B018


def test_budget():
    rng = np.random.default_rng(0)
    dense = Substrate.from_tpm(rng.random((64, 6)))
    System.build(dense, "000000", "AB", budget=2**20).cause  # noqa: B018
    with pytest.raises(MemoryRefusedError, match="over 6 units"):
        System.build(dense, "000000", "AB", budget=64).cause  # noqa: B018


@pytest.mark.parametrize("seed", range(6))
def test_contraction__both_plans_agree(seed, monkeypatch):
    """Variable elimination, used where opt_einsum's plan is dear, gives the same posterior."""
    rng = np.random.default_rng(seed)
    substrate = universe(rng, 6, most_inputs=4)
    noisy = Substrate.from_factors(
        [(f.parents, 0.9 * f.table + 0.1 / f.table.shape[-1]) for f in substrate.factors]
    )
    now = tuple(int(rng.integers(k)) for k in noisy.levels)
    plain = System.build(noisy, now, [0, 3]).cause
    monkeypatch.setattr("iitdask.model.contraction.CHEAP_MULTIPLICATIONS", 0)
    monkeypatch.setattr("iitdask.model.contraction.paths.greedy", _in_given_order)
    np.testing.assert_allclose(System.build(noisy, now, [0, 3]).cause, plain, atol=1e-14)


def _in_given_order(scopes, output, sizes):
    return [(0, 1)] * (len(scopes) - 1) or [(0,)]
