"""What IIT 3.0 is predicted to take: counted from connections."""

import json
from itertools import chain, combinations

import numpy as np
import pytest

import iitdask as iit
from iitdask.model.system import System
from iitdask.study.spec import read_study
from iitdask.study.sweep import MAX_SAMPLED_POINTS, sweep_from_study
from iitdask.theory.iit3.concepts import mechanism_seconds, searched_states
from iitdask.theory.iit3.constellations import cut_seconds
from iitdask.theory.options import IIT3


def subsets(units):
    return chain.from_iterable(combinations(units, k) for k in range(1, len(units) + 1))


def is_admissible(mechanism, purview, edges):
    """Mathematics.md 6.3 of a cause purview, by sets: all feed, all are fed, nothing is apart."""
    own = [(i, j) for i, j in edges if i in purview and j in mechanism]
    if {i for i, _ in own} != set(purview) or {j for _, j in own} != set(mechanism):
        return False
    if len(mechanism) == 1 or len(purview) == 1:
        return True
    seen = {("purview", purview[0])}
    while True:
        more = {("mechanism", j) for i, j in own if ("purview", i) in seen}
        more |= {("purview", i) for i, j in own if ("mechanism", j) in seen}
        if more <= seen:
            return len(seen) == len(mechanism) + len(purview)
        seen |= more


@pytest.mark.parametrize("seed", range(6))
def test_searched_states__are_those_of_admissible_pairs(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    connected = rng.random((n, n)) < rng.uniform(0.2, 0.9)
    children = tuple(sum(1 << j for j in range(n) if connected[i, j]) for i in range(n))
    edges = [tuple(edge) for edge in np.argwhere(connected).tolist()]
    expected = np.zeros(1 << n)
    for mechanism in subsets(range(n)):
        for purview in subsets(range(n)):
            if is_admissible(mechanism, purview, edges):
                mask = sum(1 << j for j in mechanism)
                expected[mask] += 2.0 ** (len(mechanism) + len(purview))
    np.testing.assert_array_equal(searched_states(children), expected)


def ring_units(n, shift=0):
    labels = [chr(65 + i) for i in range(n)]
    gates = ["OR", "XOR", "AND"]
    return [
        {
            "label": labels[i],
            "gate": gates[shift // 3**i % 3],
            "inputs": [labels[i - 1], labels[(i + 1) % n]],
        }
        for i in range(n)
    ]


def test_forecast__of_a_ring_is_a_small_part_of_that_of_a_dense_network():
    ring = iit.Substrate.from_units(ring_units(8))
    dense = iit.Substrate.from_tpm(np.full((256, 8), 0.5))
    seconds = []
    for substrate in (ring, dense):
        system = System.build(substrate, "0" * 8)
        seconds.append((mechanism_seconds(system, IIT3()).sum(), cut_seconds(system, IIT3())))
    assert seconds[0][0] < seconds[1][0] / 100
    assert seconds[0][1] < seconds[1][1] / 50


def test_forecast__of_a_sweep_looks_at_few_points_of_every_size(tmp_path):
    rings = [{"units": ring_units(7, k)} for k in range(15)]
    paths = [
        {
            "units": [
                {"label": unit["label"], "gate": "NOT" if k >> i & 1 else "COPY"}
                | {"inputs": unit["inputs"][:1]}
                for i, unit in enumerate(ring_units(7))
            ]
        }
        for k in range(15)
    ]
    substrates = [*rings[::2], *paths, *rings[1::2]]
    axes = {"substrate": substrates, "state": ["0" * 7]}
    study = {"compute": "sia", "theory": "iit3", "substrate": substrates[0], "sweep": axes}
    path = tmp_path / "many.json"
    path.write_text(json.dumps(study))
    read, where = read_study(path)
    sweep = sweep_from_study(read, where, "many")
    recipe, share = sweep.sampled_recipe()
    stages = next(recipe)
    assert len(stages) == MAX_SAMPLED_POINTS
    assert share == len({*map(json.dumps, substrates)}) / MAX_SAMPLED_POINTS
    edges = {p.key: int(np.count_nonzero(p.substrate.connectivity)) for p in sweep.layout.large}
    inputs = [edges[stage.name.split("/")[1]] for stage in stages]
    assert inputs == sorted(inputs)
    assert {*inputs} == {7, 14}
