"""Gates that only count their inputs, without a table over all of them."""

from itertools import combinations, product

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import MemoryRefusedError, SubstrateError, UnreachableStateError
from iitdask.model import gates
from iitdask.model.contraction import contract
from iitdask.model.factor import CountingFactor, Factor
from iitdask.run.storage import open_store
from iitdask.study.problem import read_problem
from iitdask.study.run import verify_stored_run

COUNTING = ["AND", "OR", "NAND", "NOR", "XOR", "XNOR", "MAJORITY", "MINORITY"]
INPUTS = 5


@pytest.fixture(params=COUNTING)
def pair(request, monkeypatch):
    """The same noisy gate over five inputs as a table and as counts."""
    units = [{"gate": "COPY", "inputs": [0]}] * INPUTS
    units = [*units, {"gate": request.param, "inputs": list(range(INPUTS)), "noise": 0.125}]
    table = iit.Substrate.from_units(units).factors[-1]
    monkeypatch.setattr(gates, "MAX_TABULATED_INPUTS", 3)
    wide = iit.Substrate.from_units(units).factors[-1]
    assert isinstance(wide, CountingFactor)
    return table, wide


def test_wide__counts_what_the_table_says(pair):
    table, wide = pair
    for x in product((0, 1), repeat=INPUTS):
        np.testing.assert_array_equal(wide.probability_by_count[sum(x)], table.table[x])


@pytest.mark.parametrize("value", [0, 1])
def test_likelihoods__multiply_to_the_table(pair, value):
    table, wide = pair
    tensors = wide.likelihoods(value, 100)
    assert max(t.values.size for t in tensors) < 2**INPUTS * 3
    found = contract(tensors, tuple(range(INPUTS)), [str(i) for i in range(200)])
    expected = table.table[..., value]
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-14)


def test_held__is_the_table_held(pair):
    table, wide = pair
    for state in product((0, 1), repeat=INPUTS):
        for inside in ((), (0,), (1, 3), (0, 2, 4)):
            found = wide.conditioned(inside, state)
            assert isinstance(found, Factor)
            index = tuple(slice(None) if p in inside else state[p] for p in range(INPUTS))
            np.testing.assert_array_equal(found.table, table.table[index])


def test_minimal__sets_determine_and_none_of_their_parts_does(pair):
    table, wide = pair

    def determines(axes, state):
        index = tuple(state[a] if a in axes else slice(None) for a in range(INPUTS))
        rows = table.table[index].reshape(-1, 2)
        return bool((rows == rows[0]).all())

    for state in product((0, 1), repeat=INPUTS):
        found = wide.minimal_determining_sets(state)
        assert found
        for axes in found:
            assert determines(axes, state)
            assert not any(determines(set(axes) - {a}, state) for a in axes)
        sizes = [
            size
            for size in range(INPUTS + 1)
            if any(determines(axes, state) for axes in combinations(range(INPUTS), size))
        ]
        assert len(found[0]) == sizes[0]


def fan(inputs, gate="OR"):
    """A ring of units, and one that reads them all."""
    ring = [{"label": f"r{i}", "gate": "COPY", "inputs": [f"r{i - 1}"]} for i in range(1, inputs)]
    ring = [{"label": "r0", "gate": "COPY", "inputs": [f"r{inputs - 1}"]}, *ring]
    return [*ring, {"label": "out", "gate": gate, "inputs": [f"r{i}" for i in range(inputs)]}]


def test_background__of_a_wide_gate_knows_what_it_excludes():
    substrate = iit.Substrate.from_units(fan(40))
    quiet = [0] * 41
    with pytest.raises(UnreachableStateError, match="out=1"):
        iit.complexes(substrate, [*quiet[:40], 1])
    found = iit.complexes(substrate, quiet, candidates=[["r0"]])
    assert found.sizes["complex"] == 0
    with pytest.raises(UnreachableStateError, match="unreachable"):
        iit.complexes(substrate, [1, *quiet[1:]])


def test_complexes__do_not_depend_on_how_a_gate_is_kept(monkeypatch):
    units = fan(6, "NOR")
    units[0] = {"label": "r0", "gate": "XOR", "inputs": ["r5", "r2"]}
    state = "0110100"
    plain = iit.complexes(iit.Substrate.from_units(units), state)
    monkeypatch.setattr(gates, "MAX_TABULATED_INPUTS", 3)
    wide = iit.complexes(iit.Substrate.from_units(units), state)
    assert plain["complex"].values.tolist() == wide["complex"].values.tolist()
    np.testing.assert_array_equal(plain["phi"].values, wide["phi"].values)


def test_wide__survives_a_store(tmp_path):
    substrate = iit.Substrate.from_units(fan(40))
    url = str(tmp_path / "fan.zarr")
    iit.complexes(substrate, [0] * 41, store=url, max_size=2)
    kept = read_problem(open_store(url)).target.substrate
    assert kept.fingerprint == substrate.fingerprint
    assert isinstance(kept.factors[-1], CountingFactor)
    assert not verify_stored_run(url).problems


def test_wide__refuses_what_needs_its_table():
    units = fan(40)
    units[-1] = {**units[-1], "inputs": [*units[-1]["inputs"], "out"]}
    substrate = iit.Substrate.from_units(units)
    with pytest.raises(MemoryRefusedError, match="a unit of 41 inputs"):
        iit.sia(substrate, [0] * 41, ["out"])
    with pytest.raises(MemoryRefusedError, match="unit 'out': a unit of 41 inputs"):
        iit.complexes(substrate, [0] * 41, candidates=[["out"]])


def test_wide__refuses_an_omitted_input():
    edges = np.ones((41, 41), int)
    edges[3, 40] = 0
    with pytest.raises(SubstrateError, match="connectivity omits an input"):
        iit.Substrate.from_units(fan(40), connectivity=edges)
