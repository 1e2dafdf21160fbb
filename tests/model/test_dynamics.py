"""Attractors, basins and long-run probabilities against brute force on whole tables."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iitdask as iit
from iitdask.errors import InputError, SpecError, StateError
from iitdask.model import dynamics
from iitdask.model.substrate import Substrate
from iitdask.theory import attractors as recipe


def boolean(n, k, seed, levels=None):
    """Deterministic random network: each unit a random function of k units."""
    rng = np.random.default_rng(seed)
    levels = levels or [2] * n
    factors = []
    for i in range(n):
        inputs = sorted(rng.choice(n, min(k, n), replace=False).tolist())
        rows = rng.integers(0, levels[i], size=tuple(levels[j] for j in inputs))
        factors.append((inputs, np.eye(levels[i])[rows]))
    return Substrate.from_factors(factors)


def successor(substrate, state):
    return tuple(
        int(f.table[tuple(state[p] for p in f.parents)].argmax()) for f in substrate.factors
    )


def all_states(substrate):
    return [s[::-1] for s in itertools.product(*(range(k) for k in substrate.levels[::-1]))]


def text(state):
    return "".join(map(str, state))


def brute_force(substrate, states=None):
    """Cycle (frozenset of states) each state leads to, by walking."""
    cycle_of = {}
    for start in states or all_states(substrate):
        path, state = [], start
        while state not in path and state not in cycle_of:
            path.append(state)
            state = successor(substrate, state)
        cycle = cycle_of.get(state) or frozenset(path[path.index(state) :])
        cycle_of |= dict.fromkeys(path, cycle)
    return cycle_of


def found_basins(tree):
    data = tree["attractors"].to_dataset()
    return {
        frozenset(states.split()): basin
        for states, basin in zip(data["states"].values, data["basin"].values.tolist(), strict=True)
    }


def expected_basins(cycle_of):
    counts = {}
    for cycle in cycle_of.values():
        key = frozenset(map(text, cycle))
        counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize("seed", range(6))
def test_attractors__and_basins_are_those_of_walking(seed):
    substrate = boolean(7, 1 + seed % 3, seed)
    tree = iit.dynamics(substrate)
    assert found_basins(tree) == expected_basins(brute_force(substrate))
    data = tree["attractors"].to_dataset()
    assert data["period"].values.tolist() == [len(s.split()) for s in data["states"].values]
    assert (np.diff(data["basin"].values) <= 0).all()
    assert data["basin_share"].values.sum() == pytest.approx(1)
    assert tree.attrs["exact"]
    assert tree.attrs["deterministic"]
    assert tree.attrs["n_attractors"] == data.sizes["attractor"]


def test_attractors__list_states_in_their_order():
    ring = Substrate.from_units([{"gate": "COPY", "inputs": [(i - 1) % 3]} for i in range(3)])
    states = iit.dynamics(ring)["attractors"]["states"].values.tolist()
    assert states == ["100 010 001", "110 011 101", "000", "111"]


@pytest.mark.parametrize("seed", range(3))
def test_attractors__of_units_with_more_values(seed):
    substrate = boolean(4, 2, seed, levels=[2, 3, 2, 4])
    assert found_basins(iit.dynamics(substrate)) == expected_basins(brute_force(substrate))


def test_units_that_feed_no_other__only_follow():
    core = boolean(4, 2, 5)
    rng = np.random.default_rng(1)
    factors = [(f.parents, f.table) for f in core.factors]
    rows = rng.integers(0, 2, size=(9, 2, 2))
    factors += [((i - 1, i % 4), np.eye(2)[rows[i]]) for i in range(4, 9)]  # a chain behind it
    whole = Substrate.from_factors(factors)
    assert dynamics.core_units(whole) == dynamics.core_units(core)
    assert found_basins(iit.dynamics(whole)) == expected_basins(brute_force(whole))
    chain = Substrate.from_factors([((), [0, 1]), ((0,), np.eye(2)), ((1,), np.eye(2))])
    assert dynamics.core_units(chain) == ()
    assert found_basins(iit.dynamics(chain)) == {frozenset({"111"}): 8}


def test_attractors__of_a_network_of_60_units_are_exact_where_few_units_matter():
    rng = np.random.default_rng(2)
    factors = [(f.parents, f.table) for f in boolean(10, 2, 8).factors]
    for i in range(10, 60):
        inputs = sorted(rng.choice(i, 2, replace=False).tolist())
        factors.append((inputs, np.eye(2)[rng.integers(0, 2, size=(2, 2))]))
    substrate = Substrate.from_factors(factors)
    tree = iit.dynamics(substrate)
    assert tree.attrs["exact"]
    rest = (0,) * 50
    starts = [(*s, *rest) for s in itertools.product((0, 1), repeat=10)]
    expected = expected_basins(brute_force(substrate, starts))
    assert set(found_basins(tree)) == set(expected)
    assert tree["attractors"]["basin"].values.sum() == 2.0**60


def test_attractors__of_60_units_are_sampled(monkeypatch):
    monkeypatch.setattr(recipe, "N_STARTS", 60)
    substrate = boolean(60, 2, 3)
    tree = iit.dynamics(substrate)
    assert not tree.attrs["exact"]
    assert tree.attrs["n_starts"] == 60
    assert tree.attrs["n_unresolved"] == 0
    data = tree["attractors"].to_dataset()
    assert data["basin_share"].values.sum() == pytest.approx(1)
    for states, period in zip(data["states"].values, data["period"].values, strict=True):
        cycle = [tuple(map(int, each)) for each in states.split()]
        assert len(set(cycle)) == period
        for now, after in itertools.pairwise([*cycle, cycle[0]]):
            assert successor(substrate, now) == after


@pytest.mark.parametrize("seed", range(3))
def test_starts__end_where_walking_ends(seed):
    substrate = boolean(8, 3, seed)
    network = dynamics.next_values(substrate)
    states = all_states(substrate)
    period, cycle = dynamics.follow_starts(network, np.array(states, np.uint8))
    walked = brute_force(substrate)
    for start, length, least in zip(states, period.tolist(), cycle, strict=True):
        assert length == len(walked[start])
        assert tuple(least.tolist()) == min(walked[start])


def test_starts__without_an_end_are_counted(monkeypatch):
    monkeypatch.setattr(dynamics, "MAX_STEPS", 2)
    ring = Substrate.from_units([{"gate": "COPY", "inputs": [(i - 1) % 7]} for i in range(7)])
    period, _ = dynamics.follow_starts(dynamics.next_values(ring), np.eye(7, dtype=np.uint8))
    assert (period == 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_maps__lead_to_their_cycles(seed, count):
    rng = np.random.default_rng(seed)
    successor_of = rng.integers(0, count, size=count)
    found, leads_to = dynamics.attractors_of_map(successor_of)
    for start in range(count):
        seen, state = [], start
        while state not in seen:
            seen.append(state)
            state = int(successor_of[state])
        cycle = seen[seen.index(state) :]
        assert found.first[leads_to[start]] == min(cycle)
        assert found.period[leads_to[start]] == len(cycle)
    assert found.basin.tolist() == np.bincount(leads_to).tolist()


def matrix_of(substrate):
    states = all_states(substrate)
    return states, np.array(
        [
            [
                math.prod(
                    f.table[(*(x[p] for p in f.parents), y[i])]
                    for i, f in enumerate(substrate.factors)
                )
                for y in states
            ]
            for x in states
        ]
    )


@pytest.mark.parametrize("levels", [(2, 2, 2), (2, 3)])
def test_long_run__is_the_mean_of_many_steps(levels):
    rng = np.random.default_rng(3)
    n = len(levels)
    factors = [(tuple(range(n)), rng.dirichlet([0.3] * k, size=levels)) for k in levels]
    substrate = Substrate.from_factors(factors)
    states, matrix = matrix_of(substrate)
    assert np.allclose(dynamics.transition_matrix(substrate), matrix)
    mean = np.full(len(states), 1 / len(states)) @ np.linalg.matrix_power(
        (matrix + np.eye(len(states))) / 2, 4096
    )
    data = iit.dynamics(substrate)["long_run"].to_dataset()
    found = dict(zip(data["state"].values, data["long_run_probability"].values, strict=True))
    for state, p in zip(states, mean, strict=True):
        assert found.get(text(state), 0) == pytest.approx(p, abs=1e-9)


def test_chance__has_closed_classes_with_expected_basins():
    # A is on for ever once it is; before, it is switched on by a coin. B flips.
    substrate = Substrate.from_factors([((0,), [[0.5, 0.5], [0, 1]]), ((1,), [[0, 1], [1, 0]])])
    tree = iit.dynamics(substrate)
    data = tree["attractors"].to_dataset()
    assert data["states"].values.tolist() == ["10 11"]
    assert data["period"].values.tolist() == [2]
    assert data["basin"].values.tolist() == [4]
    assert not tree.attrs["deterministic"]
    # A is drawn to 0 or 1 and stays
    split = Substrate.from_factors(
        [((0, 1), [[[1, 0], [0.25, 0.75]], [[0, 1], [0, 1]]]), ((), [1, 0])]
    )
    data = iit.dynamics(split)["attractors"].to_dataset()
    basins = dict(zip(data["states"].values, data["basin"].values, strict=True))
    assert basins == {"00": pytest.approx(1.25), "10": pytest.approx(2.75)}


def test_chance__in_too_many_states_is_refused():
    noisy = Substrate.from_units([{"gate": "NOT", "inputs": [i], "noise": 0.1} for i in range(11)])
    with pytest.raises(InputError, match="2048 states with chance: expected at most 1024"):
        iit.dynamics(noisy)


def test_trajectory__is_simulated_from_a_start():
    basic = iit.examples.load("basic")
    path = iit.dynamics(basic, "100", steps=4)["trajectory"]["value"].values
    assert path.shape == (5, 3)
    for now, after in itertools.pairwise(path.tolist()):
        assert successor(basic, now) == tuple(after)
    coin = Substrate.from_units([{"gate": "BIAS", "probability": 0.3}])
    values = iit.dynamics(coin, "0", steps=4000, seed=2)["trajectory"]["value"].values[1:]
    assert abs(values.mean() - 0.3) < 0.03
    with pytest.raises(StateError, match="state"):
        iit.dynamics(basic, "10")
    with pytest.raises(InputError, match="steps: expected a whole number from 0"):
        iit.dynamics(basic, "100", steps=-1)


def test_dynamics__is_a_computation_of_studies(tmp_path):
    study = {"substrate": {"example": "basic"}, "compute": "dynamics"}
    assert iit.estimate(study).complete
    tree = iit.dynamics(iit.examples.load("basic"), store=tmp_path / "d.zarr")
    opened = iit.open(tmp_path / "d.zarr")
    assert opened["attractors"]["states"].values.tolist() == ["100 001 110", "000"]
    assert opened.attrs["exact"] == tree.attrs["exact"]
    family = {"family": "erdos-renyi", "n": 4, "count": 3}
    cube = iit.sweep({"substrate": [family]}, compute="dynamics")
    assert cube["n_attractors"].shape == (3,)
    assert (cube["n_attractors"] >= 1).all()


def test_axis__of_the_states_of_attractors():
    basic = iit.examples.load("basic")
    cube = iit.sweep({"state": {"attractors": "all"}}, basic)
    assert sorted(cube["state"].values.tolist()) == ["000", "001", "100", "110"]
    assert iit.sweep({"state": "attractors"}, basic).sizes["state"] == 4
    largest = iit.sweep({"state": {"attractors": 1}}, basic)
    assert sorted(largest["state"].values.tolist()) == ["001", "100", "110"]
    noisy = Substrate.from_factors([((0,), [[0.5, 0.5], [0, 1]])])
    assert iit.sweep({"state": "attractors"}, noisy)["state"].values.tolist() == ["1"]
    with pytest.raises(SpecError, match="attractors: expected all or how many, got 0"):
        iit.sweep({"state": {"attractors": 0}}, basic)
