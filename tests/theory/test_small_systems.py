"""Whole small systems in one kernel: the numbers of the full recipes, bit for bit."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import UnreachableStateError
from iitdask.model.batch import Batch
from iitdask.theory.reasons import Reason
from iitdask.theory.small_systems import COUNTS, QUANTITIES, SmallSystems, small_systems_stage

GATES = ["AND", "OR", "XOR", "NAND", "NOR", "MAJORITY"]
THEORIES = ["iit4", iit.IIT42026(differentiation="current"), "iit4-2026"]  # by SmallSystems.cap


def substrate(rng):
    """Deterministic gates, noisy gates, random probabilities or units of several values."""
    n, kind = int(rng.integers(1, 5)), rng.integers(4)
    if kind < 2:
        units = []
        for _ in range(n):
            inputs = sorted(rng.choice(n, int(rng.integers(1, n + 1)), replace=False).tolist())
            noise = {"noise": 0.1} if kind else {}
            units.append({"gate": str(rng.choice(GATES)), "inputs": inputs, **noise})
        return iit.Substrate.from_units(units)
    if kind == 2:
        return iit.Substrate.from_tpm(rng.random((2**n, n)))
    levels = [int(rng.integers(2, 4)) for _ in range(min(n, 3))]
    every = list(range(len(levels)))
    return iit.Substrate.from_factors(
        [(every, rng.dirichlet(np.ones(k), tuple(levels))) for k in levels]
    )


def asked(rng, count):
    """Substrates with a state, a candidate and a theory each, sorted as stages want them."""
    substrates = [substrate(rng) for _ in range(count)]
    rows = []
    for k, each in enumerate(substrates):
        n = each.n_units
        chosen = range(n)
        if rng.random() < 0.4:
            chosen = sorted(rng.choice(n, int(rng.integers(1, n + 1)), replace=False).tolist())
        state = [int(rng.integers(level)) for level in each.levels]
        code = sum(v * int(np.prod(each.levels[:i])) for i, v in enumerate(state))
        rows.append((k, code, sum(1 << i for i in chosen), int(rng.integers(3)), state, chosen))
    arrays = (np.array([row[i] for row in rows], np.int64) for i in range(4))
    points = SmallSystems(Batch.from_substrates(substrates), *arrays)
    order = np.lexsort(points.own_levels().T)
    return substrates, points.take(order), [rows[i] for i in order]


def filled(points, structures):
    stage = small_systems_stage("points", points, structures)
    return stage.compute(dict(stage.inputs), (slice(0, len(points)),))


def expected(substrate, row, structures):
    """The numbers of the full recipe, or None where a state is unreachable."""
    door = iit.ces if structures else iit.sia
    try:
        found = door(substrate, row[4], list(row[5]), THEORIES[row[3]])
    except UnreachableStateError:
        return None
    system = found["system"].to_dataset() if structures else found
    values = [float(system[name]) for name in QUANTITIES[:6]]
    counts = [int(system[name]) for name in COUNTS[1:3]]
    if structures:
        values += [found.attrs[name] for name in QUANTITIES[6:]]
        counts += [found.attrs["n_distinctions"], int(found["relations"]["count"])]
    return values, counts


@pytest.mark.parametrize("structures", [False, True], ids=["sia", "ces"])
@pytest.mark.parametrize("seed", [0, 1])
def test_points__have_the_numbers_of_the_full_recipes(seed, structures):
    substrates, points, rows = asked(np.random.default_rng(seed), 60)
    found = filled(points, structures)
    whole = 0
    for row, values, counts in zip(rows, found["value"], found["number"], strict=True):
        wanted = expected(substrates[row[0]], row, structures)
        if wanted is None:
            assert Reason(int(counts[0])) in Reason.UNREACHABLE
            assert np.isnan(values).all()
            continue
        assert counts[1:].tolist() == wanted[1]
        # With units outside, the background is averaged in another order: last bits differ.
        np.testing.assert_allclose(values, wanted[0], rtol=1e-12, atol=1e-13)
        if len(row[5]) == substrates[row[0]].n_units:
            whole += 1
            np.testing.assert_array_equal(values, wanted[0])
    assert whole > 10


def test_blocks__have_the_same_bits_wherever_they_are_cut():
    _, points, _ = asked(np.random.default_rng(2), 40)
    stage = small_systems_stage("points", points, True)
    whole = stage.compute(dict(stage.inputs), (slice(0, 40),))
    parts = [stage.compute(dict(stage.inputs), (slice(k, k + 8),)) for k in range(0, 40, 8)]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)


def test_points__alone__keep_their_systems():
    _, points, _ = asked(np.random.default_rng(3), 30)
    some = points.take(np.array([k for k in range(30) if k % 3])).compacted()
    assert len(some.batch) == 20
    found, whole = filled(some, False), filled(points, False)
    np.testing.assert_array_equal(found["value"], whole["value"][np.arange(30) % 3 > 0])
