"""Perception against the reference's numbers, and against listing every component."""

import json
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from iitdask.errors import InputError, StateError
from iitdask.study.run import verify_stored_run
from iitdask.theory.differentiation import (
    ComponentSets,
    TriggeredStructures,
    differentiation,
    perceived_differentiation,
)
from iitdask.theory.matching import environment_probabilities, perceived_by_set
from tests.reference import perception as reference

CASES = json.loads((Path(__file__).parents[1] / "golden/perception_cases.json").read_text())
CLOSE = {"rel": 1e-9, "abs": 1e-9}


def rows_of(data, units):
    """Position of every mechanism, by the numbers of its units in the substrate."""
    return {
        tuple(units[k] for k in np.flatnonzero(row)): i
        for i, row in enumerate(data["mechanism_units"].values)
    }


@pytest.mark.parametrize("case", CASES, ids=[str(k) for k in range(len(CASES))])
def test_perception__is_that_of_the_reference(case):
    substrate = iit.Substrate.from_tpm(np.array(case["tpm"]))
    given = (case["sensory"], case["system"], case["tau"], case["tau_clamp"])
    tree = iit.perception(substrate, *given)
    assert tree.attrs["differentiation"] == pytest.approx(case["D"], **CLOSE)
    assert tree.attrs["differentiation_perceived"] == pytest.approx(case["D_p"], **CLOSE)
    every, data = tree["stimuli"].to_dataset(), tree["distinctions"].to_dataset()
    rows = rows_of(data, case["system"])
    for theirs in case["stimuli"]:
        name = "".join(map(str, theirs["stimulus"]))
        ours, found = every.sel(stimulus=name), data.sel(stimulus=name)
        assert ours["row"].values == pytest.approx(theirs["row"], **CLOSE)
        assert ours["response"].item() == "".join(map(str, theirs["state"]))
        for key in ("big_phi", "richness"):
            assert float(ours[key]) == pytest.approx(theirs[key], **CLOSE)
        assert int(np.isfinite(found["phi"].values).sum()) == len(theirs["distinctions"])
        for each, fold in zip(theirs["distinctions"], theirs["folds"], strict=True):
            row = found.isel(mechanism=rows[tuple(each["mechanism"])])
            for key in ("phi", "t", "c", "p", "q"):
                assert float(row[key]) == pytest.approx(each[key], **CLOSE)
            assert float(row["fold"]) == pytest.approx(fold, **CLOSE)


def random_tpm(rng, levels):
    """Tables of every unit over the states of all."""
    return [rng.dirichlet(np.ones(k), size=tuple(levels)) for k in levels]


SMALL = [((2, 2, 2), [0], 1, 1), ((2, 2, 2, 2), [1, 3], 2, 1), ((3, 2, 2), [0], 2, 2),
         ((2, 3, 2), [2], 1, 0), ((2, 2, 2), [0, 1], 3, 0)]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize(("levels", "sensory", "tau", "clamp"), SMALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_perception__is_what_listing_every_component_gives(levels, sensory, tau, clamp, seed):
    rng = np.random.default_rng(seed)
    tables = random_tpm(rng, levels)
    system = [i for i in range(len(levels)) if i not in sensory]
    if seed:  # the system does not hear: all stimuli trigger one structure
        for i in system:
            tables[i] = np.broadcast_to(
                tables[i].mean(axis=tuple(sensory), keepdims=True), tables[i].shape
            )
    cm = np.ones((len(levels), len(levels)), int)
    if seed:
        cm[np.ix_(sensory, system)] = 0
    theirs = reference.perceive(tables, cm, sensory, system, tau, clamp)
    tree = iit.perception(iit.Substrate.from_tpm(tables, cm), sensory, system, tau, clamp)
    assert tree.attrs["differentiation"] == pytest.approx(theirs["D"], **CLOSE)
    assert tree.attrs["differentiation_perceived"] == pytest.approx(theirs["D_p"], **CLOSE)
    data = tree["distinctions"].to_dataset()
    rows = rows_of(data, system)
    for stimulus, each in theirs["stimuli"].items():
        name = "".join(map(str, stimulus))
        ours = tree["stimuli"].to_dataset().sel(stimulus=name)
        assert ours["row"].values == pytest.approx(list(each["row"].values()), abs=1e-12)
        assert ours["response"].item() == "".join(map(str, each["response"]))
        assert float(ours["richness"]) == pytest.approx(each["richness"], **CLOSE)
        assert float(ours["big_phi"]) == pytest.approx(each["big_phi"], **CLOSE)
        for mechanism, values in each["t"].items():
            row = data.sel(stimulus=name).isel(mechanism=rows[mechanism])
            found = [float(row[key]) for key in ("t", "c", "p", "q")]
            assert found == pytest.approx(values, **CLOSE)
            assert float(row["fold"]) == pytest.approx(each["fold"][mechanism], **CLOSE)


@pytest.fixture(scope="module")
def tree():
    return iit.perception(iit.Substrate.from_tpm(np.array(CASES[2]["tpm"])), [0, 1], [2, 3])


def test_some_stimuli__have_the_numbers_they_have_among_all(tree):
    substrate = iit.Substrate.from_tpm(np.array(CASES[2]["tpm"]))
    some = iit.perception(substrate, [0, 1], [2, 3], stimuli=["11", (0, 0)])
    assert some["stimuli"]["stimulus"].values.tolist() == ["00", "11"]
    for name in ("big_phi", "richness"):
        every = tree["stimuli"].to_dataset()[name].sel(stimulus=["00", "11"])
        assert some["stimuli"][name].values.tolist() == every.values.tolist()
    assert some.attrs["n_structures"] == 2


def test_run__resumes_verifies_and_is_opened(tmp_path, tree):
    substrate = iit.Substrate.from_tpm(np.array(CASES[2]["tpm"]))
    given, store = (substrate, [0, 1], [2, 3]), tmp_path / "run.zarr"
    first = iit.perception(*given, store=store)
    again = iit.perception(*given, store=store)
    assert verify_stored_run(store).problems == ()
    for each in (first, again, iit.open(store)):
        assert each["stimuli"]["richness"].values.tolist() == (
            tree["stimuli"]["richness"].values.tolist()
        )


def test_sweep__records_differentiation():
    cube = iit.sweep(
        {"theory": ["iit4", "iit4-2026"]}, iit.examples.load("grid3"), compute="perception",
        sensory="A", system="BC", tau=2, clamp=1,
    )  # fmt: skip
    assert cube["status"].values.tolist() == ["done", "done"]
    expected = [0.30052496761162467] * 2
    assert cube["differentiation_perceived"].values == pytest.approx(expected, rel=1e-12)


def test_sweep__goes_through_lags_and_clamps():
    grid3 = iit.examples.load("grid3")
    axes = {"tau": [1, 2, 3], "clamp": [1, 2]}
    cube = iit.sweep(axes, grid3, sensory="A", system="BC", compute="perception")
    known = {(1, 1): 0.3324339827154914, (2, 1): 0.30052496761162467, (3, 2): 0.5448739833305339}
    for (tau, clamp), value in known.items():
        found = cube["differentiation_perceived"].sel(tau=tau, clamp=clamp)
        assert float(found) == pytest.approx(value, abs=1e-9)
    assert cube["status"].sel(tau=1, clamp=2).item() == "failed"
    message = cube["message"].sel(tau=1, clamp=2).item()
    assert "clamp: expected a whole number from 0 to tau 1, got 2" in message


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ({"tau": [0, 1]}, "tau: expected whole numbers from 1 on, got 0"),
        ({"clamp": [-1]}, "clamp: expected whole numbers from 0 on, got -1"),
        ({"tau": ["x"]}, "tau: expected whole numbers from 1 on, got 'x'"),
    ],
)
def test_sweep__says_what_is_wrong_with_lags(axes, text):
    with pytest.raises(iit.errors.SpecError, match=text):
        iit.sweep(axes, "grid3", sensory="A", system="BC", compute="perception")


def test_unreachable_response__has_no_structure():
    # the interface computes AND of nothing: it is never on, so no past leads to stimulus 1
    off = [[1.0, 0.0]] * 4
    noisy = np.random.default_rng(1).uniform(0.1, 0.9, 4)
    tables = [np.array(off).reshape(2, 2, 2), np.stack([1 - noisy, noisy], -1).reshape(2, 2, 2)]
    found = iit.perception(iit.Substrate.from_tpm(tables), [0], [1])["stimuli"].to_dataset()
    assert found["structure"].values.tolist() == [0, -1]
    assert "no past state" in found["why_none"].values[1]
    assert float(found["big_phi"][1]) == 0.0


WRONG = [
    ({"sensory": "A", "system": "AB"}, "expected all units but those .* A are in the sensory"),
    ({"sensory": "A", "system": "B"}, "C are in neither"),
    ({"sensory": "A", "system": None}, "system: expected at least one unit"),
    ({"sensory": "Q", "system": "BC"}, "sensory: "),
    ({"tau": 0}, "tau: expected a whole number from 1, got 0"),
    ({"tau": 1, "clamp": 2}, "clamp: expected a whole number from 0 to tau 1, got 2"),
    ({"stimuli": "00"}, 'stimuli: expected a list of states or "all"'),
    ({"stimuli": []}, "stimuli: expected at least one"),
    ({"stimuli": ["2"]}, "stimuli: entry 0: unit 'A' has values 0 to 1"),
]


@pytest.mark.parametrize(("fields", "text"), WRONG)
def test_perception__says_what_is_wrong(fields, text):
    with pytest.raises(StateError, match=text):
        iit.perception(iit.examples.load("grid3"), **{"sensory": "A", "system": "BC"} | fields)


def test_matching__is_the_mean_over_all_sequences(tree):
    world, noise = [0.1, 0.2, 0.3, 0.4], [0.25] * 4
    perceived = perceived_by_set(tree)
    for length in (1, 2, 4):
        expected = reference.matching_by_sequences(perceived, world, noise, length)
        found = iit.matching(tree, world, noise, length=length)
        assert float(found["matching"]) == pytest.approx(expected, rel=1e-10, abs=1e-13)
    drawn = iit.matching(tree, world, noise, trials=4000, seed=1, length=2)
    exact = iit.matching(tree, world, noise, length=2)
    spread = np.std(drawn["perceived_world"].values - drawn["perceived_noise"].values)
    assert abs(float(drawn["matching"] - exact["matching"])) < 5 * spread / np.sqrt(4000)


def test_matching__takes_the_best_window(tree):
    windows = [(1, 1), (1, 2), (2, 3)]
    found = iit.matching(tree, {"11": 1.0}, trials=50, seed=3, length=3, windows=windows)
    means = found["mean_difference"].values
    assert float(found["matching"]) == means.max()
    assert tuple(found["window"].values.tolist()) == windows[int(means.argmax())]
    same = iit.matching(tree, "uniform", trials=20, length=3)
    assert float(same["matching"]) == 0.0  # the same random numbers in both


def test_environments__are_what_placing_every_run_gives():
    stimuli = [f"{k & 1}{k >> 1 & 1}{k >> 2 & 1}{k >> 3 & 1}" for k in range(16)]
    layers = [{"segment": [3, 0.6]}, {"point": 0.9}, {"noise": 0.05}]
    expected = np.zeros(16)
    segments = [(0b0111, 0.3), (0b1110, 0.3), (0, 0.4)]
    points = [(1 << k, 0.225) for k in range(4)] + [(0, 0.1)]
    for a, p in segments:
        for b, q in points:
            for c in range(16):
                noise = 0.05 ** c.bit_count() * 0.95 ** (4 - c.bit_count())
                expected[a | b | c] += p * q * noise
    assert environment_probabilities(layers, stimuli, "world") == pytest.approx(expected)
    assert environment_probabilities({"0000": 1}, stimuli, "world")[0] == 1.0


BAD_WORLDS = [
    ({"5": 1.0}, "world: expected a stimulus, got '5'"),
    ([0.5, 0.5], "world: expected 4 probabilities"),
    ([0.5, 0.2, 0.1, 0.1], "world: expected probabilities that sum to 1, got 0.9"),
    ({"segment": [9, 0.5]}, "world: segment: expected a length from 1 to 2, got 9"),
    ({"noise": 2}, "world: noise: expected a probability, got 2"),
    ("storm", "world: expected probabilities of stimuli or layers"),
]


@pytest.mark.parametrize(("world", "text"), BAD_WORLDS)
def test_matching__says_what_is_wrong(world, text, tree):
    with pytest.raises(InputError, match=text):
        iit.matching(tree, world)
    with pytest.raises(InputError, match=r"perceived: expected what iit\.perception returns"):
        iit.matching(iit.sia(iit.examples.load("basic"), "100"), "uniform")


def test_differentiation__is_bounded_where_it_is_not_known(monkeypatch):
    rng = np.random.default_rng(0)
    k, d, n = 4, 5, 3
    states = np.where(rng.random((1, d, n)) < 0.8, 1, -1).repeat(k, axis=0)
    phi = np.where(rng.random((k, d)) < 0.6, 0.5, np.nan)
    given = TriggeredStructures(
        np.ones((d, n), bool) & (np.arange(1, d + 1)[:, None] >> np.arange(n) & 1 > 0),
        np.ones((k, n), int), phi, np.where(np.isnan(phi), np.nan, rng.random((k, d))),
        states, states,
    )  # fmt: skip
    sets = ComponentSets.from_structures(given)
    exact = differentiation(sets), perceived_differentiation(sets)
    assert all(each.is_exact for each in exact)
    monkeypatch.setattr("iitdask.theory.differentiation.MAX_INTERSECTIONS", 0)
    monkeypatch.setattr("iitdask.theory.differentiation.MAX_SHARED_COMPONENTS", 0)
    for known, found in zip(
        exact, (differentiation(sets), perceived_differentiation(sets)), strict=True
    ):
        assert found.low <= known.low <= found.high
        assert not found.is_exact
