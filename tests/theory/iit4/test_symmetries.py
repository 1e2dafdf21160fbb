"""Symmetries of systems in their states, against all renamings tried one by one."""

from itertools import permutations

import numpy as np
import pytest

from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.theory.iit4 import search_path
from iitdask.theory.iit4.local_network import local_factors
from iitdask.theory.iit4.recipe import ces
from iitdask.theory.iit4.symmetries import Orbits, find_orbits, find_symmetries
from iitdask.theory.options import IIT4


def ring(n, state, kind, rng):
    """Equal units of a ring: symmetric, or each with an ear for one side, or of random tables."""
    table = rng.dirichlet((1, 1), (2, 2, 2))
    if kind == "mirrored":
        table = (table + table.transpose(2, 1, 0, 3)) / 2
    units = []
    for j in range(n):
        read = [(j - 1) % n, j, (j + 1) % n]
        order = np.argsort(read)
        own = rng.dirichlet((1, 1), (2, 2, 2)) if kind == "random" else table
        units.append((sorted(read), own.transpose(*order, 3)))
    return System.build(Substrate.from_factors(units), state)


def is_symmetry(system, image):
    """Whether P(all next values | state), the state and the edges are the same when renamed."""
    state, edges = np.array(system.local_state), np.asarray(system.connectivity)
    if (state[image] != state).any() or (edges[np.ix_(image, image)] != edges).any():
        return False
    n = system.n
    states = np.arange(2**n)[:, None] >> np.arange(n) & 1
    moved = np.zeros_like(states)
    moved[:, image] = states
    rows = moved @ (1 << np.arange(n))
    on = system.effect[:, 1::2]
    return np.array_equal(on, on[np.ix_(rows, image)])


@pytest.mark.parametrize("kind", ["mirrored", "turned", "random"])
@pytest.mark.parametrize("state", [(0,) * 6, (0, 1) * 3, (1, 0, 0, 1, 0, 0), (1, 1, 0, 0, 0, 0)])
def test_symmetries__are_the_renamings_that_change_nothing(kind, state):
    system = ring(6, state, kind, np.random.default_rng(6))
    found = find_symmetries(system, local_factors(system))
    every = {p for p in permutations(range(6)) if is_symmetry(system, np.array(p))}
    assert {tuple(image) for image in found.tolist()} == every
    assert found[0].tolist() == list(range(6))


def test_orbits__are_those_of_sets_under_rotations():
    system = ring(6, (0,) * 6, "turned", np.random.default_rng(6))
    sets = np.arange(1, 64)
    orbits = find_orbits(system, local_factors(system), sets)
    assert len(orbits.representatives) == 13  # necklaces of six beads in two colours, less none
    images = orbits.representatives[orbits.which]
    np.testing.assert_array_equal(orbits.restored(images, orbits.how), sets)


@pytest.mark.parametrize("state", [(0,) * 7, (0, 1, 0, 1, 0, 1, 0, 1)])
@pytest.mark.parametrize("kind", ["mirrored", "turned"])
def test_mechanisms_of_an_orbit__have_what_a_search_of_each_finds(kind, state, monkeypatch):
    system = ring(len(state), state, kind, np.random.default_rng(7))

    def unfold():
        recipe = ces(system, IIT4(search="sparse", ties="canonical"))
        tree = execute(recipe, MemoryLedger(), SerialEngine())
        return tree, tree["distinctions"].to_dataset()

    tree, shared = unfold()
    alone = lambda system, sides, sets: Orbits(  # noqa: E731
        sets, np.arange(len(sets)), np.zeros(len(sets), int), np.arange(system.n)[None]
    )
    monkeypatch.setattr(search_path, "find_orbits", alone)
    search_path._choose_search.cache_clear()
    whole, each = unfold()
    search_path._choose_search.cache_clear()
    counts = [t.attrs["search"]["mechanisms_searched"] for t in (tree, whole)]
    assert 3 * counts[0] < counts[1] == tree.attrs["search"]["mechanisms"]
    for name in each.data_vars:
        if each[name].dtype.kind == "f":
            np.testing.assert_allclose(shared[name], each[name], 1e-12, 1e-12)
        elif name.startswith(("mechanism", "purview", "state", "n_tied")):
            np.testing.assert_array_equal(shared[name], each[name], name)
    assert tree.attrs["big_phi"] == pytest.approx(whole.attrs["big_phi"], rel=1e-12)
