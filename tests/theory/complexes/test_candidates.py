"""Certificates never exclude an irreducible system; sparse and dense, with background."""

from itertools import combinations

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, UnreachableStateError
from iitdask.model.candidate_set import CandidateSet, Influence
from iitdask.theory.complexes.candidates import candidate_search, candidates_stage, fill_candidates
from iitdask.theory.reasons import Reason
from tests import reference
from tests.strategies import asymmetric, gated, next_state, symmetric

SYSTEMS, PARTS = 5000, 50
SLOW, MORE = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.exhaustive]
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


def reasons(pool, candidates):
    """What the kernel says about each candidate."""
    if not candidates:
        return []
    stage = candidates_stage(pool, candidates)
    return fill_candidates(stage.inputs, (slice(0, len(candidates)),))["reason"].tolist()


@pytest.mark.oracle
@pytest.mark.parametrize(
    "part",
    [
        0,
        *(pytest.param(i, marks=SLOW if i < 10 else MORE) for i in range(1, PARTS)),
    ],
)
def test_certificates__never_exclude_an_irreducible_system(part):
    """5,000 systems in all: every subset that a certificate excludes, by brute force."""
    by_graph = by_cut = 0
    for number in range(part * SYSTEMS // PARTS, (part + 1) * SYSTEMS // PARTS):
        factors, cm, state = drawn(number)
        pool = CandidateSet.build(iit.Substrate.from_tpm(list(factors), cm), state)
        kept = candidate_search(pool).candidates
        found = dict(zip(kept, reasons(pool, kept), strict=True))
        for units in subsets(len(state)):
            if found.get(units, Reason.ZERO_CUT) == Reason.ZERO_CUT:
                assert truth(factors, cm.astype(int), state, units) == 0.0, (number, units)
                by_cut += units in found
                by_graph += units not in found and strongly_connected(cm[np.ix_(units, units)])
    assert by_graph > 10
    assert by_cut > 10


@pytest.mark.oracle
@pytest.mark.parametrize("number", range(150))
def test_candidates__of_some_units_have_all_others_as_background(number):
    factors, cm, state = drawn(number)
    pool = CandidateSet.build(
        iit.Substrate.from_tpm(list(factors), cm), state, range(1, len(state))
    )
    found = iit.complexes(pool.substrate, state, pool.units)
    rows = [tuple(np.flatnonzero(row).tolist()) for row in found["candidate_units"].values]
    ours = dict(zip(rows, found["candidate_phi"].values.tolist(), strict=True))
    for units in subsets(len(state)):
        if 0 not in units and len(units) < 4:
            phi = truth(factors, cm.astype(int), state, units)
            assert ours.get(units, 0.0) == pytest.approx(phi, rel=1e-9, abs=1e-9)


def strongly_connected(cm):
    reach = np.linalg.matrix_power(np.eye(len(cm), dtype=int) + cm, len(cm))
    return bool((reach > 0).all()) and (len(cm) > 1 or bool(cm[0, 0]))


@pytest.mark.parametrize("number", range(60))
def test_determining__sets_are_all_that_are_minimal(number):
    factors, cm, state = drawn(number)
    pool = CandidateSet.build(iit.Substrate.from_tpm(list(factors), cm), state)
    influence = Influence(pool.substrate, pool.state, pool.background)
    for unit, factor in enumerate(factors):
        for inside in subsets(len(state)):
            holding = {
                frozenset(axes)
                for axes in [(), *subsets(len(state))]
                if set(axes) <= set(inside) and settled(factor, state, set(inside) - set(axes))
            }
            least = {each for each in holding if not any(other < each for other in holding)}
            assert set(influence.determining(unit, inside)) == least


def settled(factor, state, free):
    """Whether a distribution is the same for all values of the free units."""
    index = tuple(slice(None) if i in free else x for i, x in enumerate(state))
    rows = factor[index].reshape(-1, factor.shape[-1])
    return bool((rows == rows[0]).all())


def ring(n, reader="COPY"):
    return iit.Substrate.from_units([{"gate": reader, "inputs": [(i - 1) % n]} for i in range(n)])


def test_candidate_search__a_ring_has_one_candidate():
    found = candidate_search(CandidateSet.build(ring(40), "01" * 20))
    assert found.candidates == (tuple(range(40)),)
    assert found.n_not_strongly_connected == 2**40 - 2
    assert found.exhaustive


def test_candidate_search__a_size_limit_leaves_the_ring_unsearched():
    found = candidate_search(CandidateSet.build(ring(40), "01" * 20, max_size=4))
    assert found.candidates == ()
    assert found.n_not_searched > 0
    assert not found.exhaustive


def test_candidate_search__an_input_that_the_outside_masks_is_no_edge():
    # B reads A only while C is on; C is off now, and was on before.
    units = [
        {"gate": "COPY", "inputs": ["B"]},
        {"gate": "AND", "inputs": ["A", "C"]},
        {"gate": "NOT", "inputs": ["C"]},
    ]
    masked = CandidateSet.build(iit.Substrate.from_units(units), "000")
    assert (0, 1) not in candidate_search(masked).candidates
    assert (2,) in candidate_search(masked).candidates


def test_candidate_search__a_unit_that_is_settled_alone_is_cut_off():
    # An OR that is on next because of its own input needs nobody else now.
    units = [{"gate": "OR", "inputs": ["A", "B"]}, {"gate": "COPY", "inputs": ["A"]}]
    assert (0, 1) not in candidate_search(
        CandidateSet.build(iit.Substrate.from_units(units), "11")
    ).candidates


def test_candidate_search__a_unit_that_tells_its_own_past_is_cut_off():
    # A is on now, so it was off and B on: whatever C was, D = AND(A, C) is off.
    units = [
        {"gate": "LINEAR", "inputs": ["A", "B"], "weights": [-1, 1], "threshold": 1},
        {"gate": "COPY", "inputs": ["D"]},
        {"gate": "COPY", "inputs": ["D"]},
        {"gate": "AND", "inputs": ["A", "C"]},
    ]
    pool = CandidateSet.build(iit.Substrate.from_units(units), "1110")
    assert not any({2, 3} <= set(each) for each in candidate_search(pool).candidates)


def test_candidate_search__jointly_keeps_what_hangs_together_on_either_side():
    units = [{"gate": "OR", "inputs": ["A", "B"]}, {"gate": "COPY", "inputs": ["A"]}]
    pool = CandidateSet.build(iit.Substrate.from_units(units), "11")
    assert (0, 1) in candidate_search(pool, jointly=True).candidates


def test_candidate_search__dense_components_beyond_a_list_are_refused(monkeypatch):
    monkeypatch.setattr("iitdask.theory.complexes.candidates.MAX_COMPONENT_CANDIDATES", 100)
    dense = iit.Substrate.from_tpm(np.random.default_rng(0).random((2**8, 8)))
    with pytest.raises(InputError, match="give max_size or candidates"):
        candidate_search(CandidateSet.build(dense, "0" * 8))


def test_candidate_search__in_the_order_of_the_specification():
    dense = iit.Substrate.from_tpm(np.random.default_rng(0).random((2**4, 4)))
    found = candidate_search(CandidateSet.build(dense, "0000")).candidates
    expected = [tuple(sorted(c)) for k in (4, 3, 2, 1) for c in combinations((3, 2, 1, 0), k)]
    assert list(found) == expected


@pytest.mark.parametrize("number", [n for n in range(60) if len(drawn(n)[2]) <= 3][:20])
def test_complexes__iit3_excludes_nothing_that_its_own_analysis_keeps(number):
    factors, cm, state = drawn(number)
    substrate = iit.Substrate.from_tpm(list(factors), cm)
    kept = set(candidate_search(CandidateSet.build(substrate, state), jointly=True).candidates)
    for units in subsets(len(state)):
        if units not in kept:
            try:
                assert float(iit.sia(substrate, state, units, "iit3")["phi"]) == 0.0
            except UnreachableStateError:
                continue
