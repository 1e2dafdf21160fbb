"""Universes far larger than any state table."""

from itertools import combinations

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import MemoryRefusedError
from iitdask.model.candidate_set import CandidateSet, flat_factors
from iitdask.theory.complexes.candidates import candidate_search

N = 200


def boolean_network(inputs, noise, seed):
    """Units with so many random inputs and random truth tables, and a state that has a past."""
    rng = np.random.default_rng(seed)
    units = []
    for _ in range(N):
        read = sorted(rng.choice(N, inputs, replace=False).tolist())
        on = noise + (1 - 2 * noise) * rng.integers(0, 2, 2**inputs)
        units.append({"gate": "TABLE", "inputs": read, "table": on.tolist()})
    substrate, state = iit.Substrate.from_units(units), rng.integers(0, 2, N).tolist()
    for _ in range(5):
        state = [
            int(f.table[tuple(state[p] for p in f.parents)].argmax()) for f in substrate.factors
        ]
    return {"substrate": {"units": units}, "state": state, "compute": "complexes", "max_size": 4}


@pytest.mark.parametrize(("inputs", "noise", "seed"), [(3, 0.0, 0), (3, 0.0, 1), (2, 0.05, 1)])
def test_complexes__of_two_hundred_units(inputs, noise, seed):
    study = boolean_network(inputs, noise, seed)
    forecast = iit.estimate(study)
    assert forecast.complete
    assert forecast.process_bytes < 2e9
    substrate = iit.Substrate.from_units(study["substrate"]["units"])
    found = iit.complexes(substrate, study["state"], max_size=4)
    assert found.sizes["complex"] > 0
    for units, phi in zip(found["units"].values, found["phi"].values, strict=True):
        system = np.flatnonzero(units).tolist()
        assert float(iit.sia(substrate, study["state"], system)["phi"]) == pytest.approx(phi)
    counted = sum(map(int, found.attrs["excluded_by"].values())) + found.sizes["complex"]
    assert counted + int(found.attrs["candidates_not_searched"]) == 2**N - 1


def test_candidate_search__small_candidates_are_the_ones_of_the_component():
    """A size limit leaves out larger candidates, and no other."""
    rng = np.random.default_rng(3)
    substrate = iit.Substrate.from_tpm(rng.random((2**5, 5)), rng.random((5, 5)) < 2)
    whole = candidate_search(CandidateSet.build(substrate, "00000")).candidates
    small = candidate_search(CandidateSet.build(substrate, "00000", max_size=3)).candidates
    assert small == tuple(units for units in whole if len(units) <= 3)
    assert len(small) == sum(1 for k in (1, 2, 3) for _ in combinations(range(5), k))


def test_complexes__beyond_the_memory_for_a_posterior_are_refused():
    study = boolean_network(3, 0.05, 0)
    substrate = iit.Substrate.from_units(study["substrate"]["units"])
    pool = CandidateSet.build(substrate, study["state"], max_size=2, budget=2**20)
    with pytest.raises(MemoryRefusedError, match=r"more than the budget of 0\.000977 GiB"):
        flat_factors(pool, pool.units_with_inputs_and_outputs)
