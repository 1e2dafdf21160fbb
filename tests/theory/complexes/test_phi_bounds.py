"""Candidates that a bound leaves out are no complexes; large networks end soon."""

from itertools import product

import numpy as np
import pytest

import iitdask as iit
from iitdask.model.candidate_set import CandidateSet
from iitdask.theory.complexes import phi_bounds, recipe
from iitdask.theory.complexes.candidates import candidate_search
from iitdask.theory.complexes.phi_bounds import open_candidates, phi_upper_bounds
from iitdask.theory.iit4 import frontier_search
from tests import reference
from tests.reference import sparse_systems
from tests.strategies import asymmetric, next_state, symmetric


def network(name, kind, n, seed=0):
    rng = np.random.default_rng([seed, n])
    factors, state = sparse_systems.factors(name, kind, [2] * n, rng)
    return iit.Substrate.from_factors(factors), state


@pytest.mark.parametrize("seed", range(60))
def test_bounds__are_above_phi_of_every_candidate(seed):
    rng = np.random.default_rng([24, seed])
    levels = ((2, 2, 2), (2, 3, 2), (2, 2, 2, 2))[seed % 3]
    factors, cm = asymmetric(rng, ("sparse", "coarse")[seed % 2], levels)
    if seed % 5 == 0:
        factors, cm = symmetric(("copy ring", "and ring", "xor all")[seed % 3], 4, 0.1)
    substrate, state = iit.Substrate.from_tpm(list(factors), cm), next_state(rng, factors)
    pool = CandidateSet.build(substrate, state)
    candidates = candidate_search(pool).candidates
    limits, closer = (phi_upper_bounds(pool, candidates, weighed) for weighed in (False, True))
    assert (closer <= limits).all()
    for units, limit in zip(candidates, closer, strict=True):
        try:
            phi = reference.sia(factors, cm.astype(int), state, units)["phi"]
        except reference.Unreachable:
            phi = 0.0
        assert phi <= limit + 1e-12


@pytest.mark.parametrize(
    ("values", "known", "found"),
    [
        ((3.0, 2.0, 1.0), (1, 0, 0), []),  # both overlap the first
        ((3.0, 4.0, 1.0), (1, 0, 0), [1, 2]),
        ((3.0, 3.0, 1.0), (1, 0, 0), [1, 2]),  # a tie: who wins is not known yet
        ((3.0, np.inf, np.inf), (0, 0, 0), [1, 2, 0]),
        ((0.0, 2.0, 1.0), (1, 1, 0), []),
        ((0.0, 2.0, 0.0), (1, 0, 0), [1]),
    ],
)
def test_open_candidates__are_those_that_no_complex_rules_out(values, known, found):
    candidates = [(0, 1), (1, 2), (0, 1, 2)]
    left = open_candidates(candidates, np.array(values), np.array(known, bool), 1e-12)
    assert left == found


def test_open_candidates__a_loser_rules_nothing_out():
    """The second overlaps the first, which ties with a third: it may be a complex, or not."""
    candidates = [(0, 1), (1, 2), (2, 3), (0, 9)]
    values, known = np.array([5.0, 4.0, 3.0, 5.0]), np.array([1, 1, 0, 1], bool)
    assert open_candidates(candidates, values, known, 1e-12) == [2]


NETWORKS = list(product(sparse_systems.GRAPHS, sparse_systems.KINDS))


def both(name, kind, n, seed, monkeypatch, theory="iit4"):
    """Complexes with and without bounds; with them every candidate is left out that can be."""
    monkeypatch.setattr(recipe, "FIRST_MEASURED_UNITS", 1)
    monkeypatch.setattr(recipe, "ROUND_CANDIDATES", 2)
    substrate, state = network(name, kind, n, seed)
    return [
        iit.complexes(substrate, state, theory={"name": theory, "search": search})
        for search in ("sparse", "dense")
    ]


def same_complexes(bounded, every):
    assert bounded["complex"].values.tolist() == every["complex"].values.tolist()
    np.testing.assert_array_equal(bounded["phi"], every["phi"])
    np.testing.assert_array_equal(bounded["big_phi"], every["big_phi"])
    assert bounded.attrs["exhaustive"]
    fates = dict(zip(every["candidate"].values, every["fate"].values, strict=True))
    kept = dict(zip(bounded["candidate"].values, bounded["fate"].values, strict=True))
    assert kept == {name: fates[name] for name in kept}
    assert all(fates[name] == "OVERLAP" for name in fates.keys() - kept.keys())


@pytest.mark.parametrize("number", range(len(NETWORKS)))
def test_complexes__with_bounds_are_those_of_all_candidates(number, monkeypatch):
    """Thirty networks of 7 to 12 units."""
    same_complexes(*both(*NETWORKS[number], 7 + number % 6, number, monkeypatch))


def test_complexes__of_thirty_units_with_two_inputs_each():
    """A billion subsets, thousands of candidates, of which the small ones are measured."""
    rng = np.random.default_rng(0)
    factors = []
    for _ in range(30):
        read = sorted(rng.choice(30, 2, replace=False).tolist())
        on = rng.random((2, 2))
        factors.append((read, np.stack([1 - on, on], axis=-1)))
    substrate = iit.Substrate.from_factors(factors)
    found = iit.complexes(substrate, rng.integers(0, 2, 30).tolist())
    assert found.attrs["exhaustive"]
    counts = {name: int(number) for name, number in found.attrs["excluded_by"].items()}
    assert sum(counts.values()) + found.sizes["complex"] == 2**30 - 1
    assert counts["BOUNDED"] > 1000
    assert int(found["candidates_evaluated"]) < 1000
    assert found.sizes["complex"] > 1


def test_complexes__that_were_not_all_decided_say_so(monkeypatch):
    monkeypatch.setattr(frontier_search, "MOST_TRANSITIONS", 50.0)
    monkeypatch.setattr(frontier_search, "DENSE_MAX_UNITS", 8)
    monkeypatch.setattr(phi_bounds, "selectivity", lambda *_: 1.0)  # else its bound excludes it
    substrate, state = network("ring", "ferromagnet", 15)
    found = iit.complexes(substrate, state)
    assert not found.attrs["exhaustive"]
    assert found.attrs["excluded_by"]["UNDECIDED"] == found.attrs["candidates_not_searched"] == "1"
    assert found.attrs["searched"] == "all non-empty subsets of all 15 units but 1"
