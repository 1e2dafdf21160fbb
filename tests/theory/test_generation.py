"""Certificates never exclude an irreducible system; sparse and dense, with background."""

from itertools import combinations

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, UnreachableStateError
from iitdask.kernels.candidates import ZERO_CUT
from iitdask.model.pool import Pool
from iitdask.theory.candidates import candidates_stage, fill_candidates
from iitdask.theory.generation import generated
from tests import reference
from tests.strategies import asymmetric, gated, next_state, symmetric

SYSTEMS = 5000
KINDS = ("gates", "sparse", "coarse", "copy ring", "and ring", "xor all")


def drawn(number):
    """A random substrate of up to five units with a reachable state."""
    rng = np.random.default_rng([5, number])
    n = int(rng.integers(2, 6))
    kind = KINDS[number % len(KINDS)]
    noise = float(rng.choice([0.0, 0.0, 0.1]))
    if kind == "gates":
        factors, cm = gated(rng, n, noise)
    elif kind in ("sparse", "coarse"):
        factors, cm = asymmetric(rng, kind, (2,) * min(n, 4))
    else:
        factors, cm = symmetric(kind, n, noise)
    return tuple(factors), cm, next_state(rng, factors)


def subsets(n):
    return [c for size in range(1, n + 1) for c in combinations(range(n), size)]


def truth(factors, cm, state, units):
    """phi_s by brute force, 0 for a system without a past."""
    try:
        return reference.sia(factors, cm, state, units)["phi"]
    except reference.Unreachable:
        return 0.0


def verdicts(pool, candidates):
    """What the kernel says about each candidate."""
    if not candidates:
        return []
    stage = candidates_stage(pool, candidates)
    return fill_candidates(stage.inputs, (slice(0, len(candidates)),))["verdict"].tolist()


@pytest.mark.oracle
@pytest.mark.parametrize("part", range(10))
def test_certificates__never_exclude_an_irreducible_system(part):
    """5,000 systems: every subset that a certificate excludes is computed by brute force."""
    by_graph = by_cut = 0
    for number in range(part * SYSTEMS // 10, (part + 1) * SYSTEMS // 10):
        factors, cm, state = drawn(number)
        pool = Pool.of(iit.Substrate.from_tpm(list(factors), cm), state)
        kept = generated(pool).candidates
        found = dict(zip(kept, verdicts(pool, kept), strict=True))
        for units in subsets(len(state)):
            if found.get(units, ZERO_CUT) == ZERO_CUT:
                assert truth(factors, cm.astype(int), state, units) == 0.0, (number, units)
                by_cut += units in found
                by_graph += units not in found and strongly_connected(cm[np.ix_(units, units)])
    assert by_graph > 100
    assert by_cut > 100


def strongly_connected(cm):
    reach = np.linalg.matrix_power(np.eye(len(cm), dtype=int) + cm, len(cm))
    return bool((reach > 0).all()) and (len(cm) > 1 or bool(cm[0, 0]))


def brute_graphs(pool, units):
    """Effective inputs of a candidate, read off its own tables."""
    system = pool.system(units)
    return [
        strongly_connected(effective(table, len(units))) for table in (system.effect, system.cause)
    ]


def effective(table, n):
    edges = np.zeros((n, n), int)
    for a in range(n):
        rows = np.arange(2**n)
        other = table[rows ^ (1 << a)]
        for b in range(n):
            edges[a, b] = bool((np.abs(table - other)[:, 2 * b] > 1e-12).any())
    return edges


@pytest.mark.parametrize("number", range(60))
def test_generated__keeps_all_whose_tables_hang_together(number):
    """What is kept is what the definition keeps, but for averages that happen to agree."""
    factors, cm, state = drawn(number)
    pool = Pool.of(iit.Substrate.from_tpm(list(factors), cm), state)
    kept = set(generated(pool).candidates)
    for units in subsets(len(state)):
        try:
            both = all(brute_graphs(pool, units))
        except UnreachableStateError:
            continue
        assert not both or units in kept


def ring(n, reader="COPY"):
    return iit.Substrate.from_units([{"gate": reader, "inputs": [(i - 1) % n]} for i in range(n)])


def test_generated__a_ring_has_one_candidate():
    found = generated(Pool.of(ring(40), "01" * 20))
    assert found.candidates == (tuple(range(40)),)
    assert found.apart == 2**40 - 2
    assert found.exhaustive


def test_generated__a_size_limit_leaves_the_ring_unsearched():
    found = generated(Pool.of(ring(40), "01" * 20, max_size=4))
    assert found.candidates == ()
    assert found.unsearched > 0
    assert not found.exhaustive


def test_generated__an_input_that_the_outside_masks_is_no_edge():
    # B reads A only while C is on; C is off now, and was on before.
    units = [
        {"gate": "COPY", "inputs": ["B"]},
        {"gate": "AND", "inputs": ["A", "C"]},
        {"gate": "NOT", "inputs": ["C"]},
    ]
    masked = Pool.of(iit.Substrate.from_units(units), "000")
    assert (0, 1) not in generated(masked).candidates
    assert (2,) in generated(masked).candidates


def test_generated__dense_components_beyond_a_list_are_refused(monkeypatch):
    monkeypatch.setattr("iitdask.theory.generation.MOST", 100)
    dense = iit.Substrate.from_tpm(np.random.default_rng(0).random((2**8, 8)))
    with pytest.raises(InputError, match="give max_size or candidates"):
        generated(Pool.of(dense, "0" * 8))


def test_generated__in_the_order_of_the_specification():
    dense = iit.Substrate.from_tpm(np.random.default_rng(0).random((2**4, 4)))
    found = generated(Pool.of(dense, "0000")).candidates
    expected = [tuple(sorted(c)) for k in (4, 3, 2, 1) for c in combinations((3, 2, 1, 0), k)]
    assert list(found) == expected
