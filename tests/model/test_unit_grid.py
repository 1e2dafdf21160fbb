"""Grids of units: who feeds whom, with which weight, found by walking."""

from itertools import product

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import SubstrateError
from iitdask.model.batch import Family

LATERAL = [0.75, -0.5]


def steps(one, other, shape, ring, directed):
    """Least steps from one place to another, each along an axis, by walking outwards."""
    ways = (1,) if directed else (1, -1)
    reached, frontier, count = {one}, {one}, 0
    while frontier:
        if other in reached:
            return count
        nearby = set()
        for place, axis, way in product(frontier, range(len(shape)), ways):
            moved = list(place)
            moved[axis] += way
            if ring:
                moved[axis] %= shape[axis]
            if 0 <= moved[axis] < shape[axis]:
                nearby.add(tuple(moved))
        frontier = nearby - reached
        reached |= nearby
        count += 1
    return None


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (2, 3), (3, 3), (1, 4)], ids=str)
def test_weights__are_those_of_the_steps_between_places(shape, ring, directed):
    block = {
        "family": "grid", "shape": list(shape), "ring": ring, "directed": directed,
        "lateral": LATERAL, "self": 2.0,
    }  # fmt: skip
    (family,) = Family.from_block(block)
    places = list(product(*map(range, shape)))
    for i, unit in enumerate(family.block(0)["units"]):
        expected = {}
        for j, place in enumerate(places):
            count = steps(place, places[i], shape, ring, directed)
            if count is not None and count <= 2:
                expected[j] = [2.0, *LATERAL][count]
        assert dict(zip(unit["inputs"], unit["weights"], strict=True)) == expected
        assert unit["gate"] == "LOGISTIC"


@pytest.mark.parametrize("gate", ["LOGISTIC", "ISING", "MAJORITY"])
def test_batch__is_the_members_one_by_one(gate):
    block = {"family": "grid", "shape": [2, 2], "self": 0.5, "gates": [gate]}
    (family,) = Family.from_block(block)
    one = iit.Substrate.from_units(family.block(0)["units"])
    assert np.array_equal(one.connectivity, family.grid.weights().T != 0)
    swept = iit.sweep({"substrate": block, "state": "all"})
    for state in ("0000", "0110"):
        phi = swept["phi"].sel(state=state).item()
        assert phi == pytest.approx(float(iit.sia(one, state)["phi"]), rel=1e-9)
    assert phi > 0


def test_directedness__of_a_directed_line_turns_with_the_order():
    block = {
        "family": "grid", "n": 4, "lateral": [2.0], "self": 1.0, "directed": True,
        "gates": {"gate": "LOGISTIC", "bias": -1.5},
    }  # fmt: skip
    line = iit.Substrate.from_units(Family.from_block(block)[0].block(0)["units"])
    structure = iit.ces(line, "0000")
    ahead = iit.relations.pairs(structure)
    back = iit.relations.pairs(structure, order="DCBA")
    assert ahead.attrs["directedness"] == -back.attrs["directedness"] != 0
    assert (ahead["directedness"] == -back["directedness"]).all()


@pytest.mark.slow
def test_folds__of_ten_units_with_more_than_two_to_the_180_relations_add_up():
    block = {
        "family": "grid", "n": 10, "lateral": [0.9], "self": 0.4,
        "gates": {"gate": "LOGISTIC", "bias": -1.0, "slope": 3.0},
    }  # fmt: skip
    line = iit.Substrate.from_units(Family.from_block(block)[0].block(0)["units"])
    structure = iit.ces(line, "1" * 10)
    assert structure.attrs["n_distinctions"] == 364
    assert float(structure["relations"]["log2_count"]) > 180
    total = structure["distinctions"]["fold"].values.sum()
    assert total == pytest.approx(structure.attrs["big_phi"], rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [2, 9]}, r"shape: expected one or two whole numbers, at most 12 units"),
        ({"shape": [2, 2, 2]}, "shape: expected one or two whole numbers"),
        ({"shape": 3, "n": 3}, "n: expected shape or n, got both"),
        ({"ring": 1}, "ring: expected true or false, got 1"),
        ({"lateral": "x"}, "lateral: expected finite numbers, got 'x'"),
        ({"self": float("nan")}, "self: expected finite numbers, got nan"),
        ({"directed": True, "self": 0}, "self: expected a weight other than 0 where a unit has no"),
        ({"gates": {"gate": "ISING", "weights": 1}}, "weights: a grid has lateral and self"),
        ({"p": 0.5}, "unknown key 'p'; a grid family has family, name, n, .*lateral, self"),
    ],
)
def test_wrong_grid__is_named(change, message):
    with pytest.raises(SubstrateError, match=message):
        Family.from_block({"family": "grid", "self": 1.0, **change})
