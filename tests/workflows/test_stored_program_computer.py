"""The machine computes what its target does, and is not conscious of it."""

import json
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from workflows.stored_program_computer import analyse, groupings, page
from workflows.stored_program_computer.machine import PQRS, WXYZ, Machine, random_program

PUBLISHED = json.loads(
    (Path(__file__).parents[1] / "golden" / "findlay_published.json").read_text()
)["computer"]
PROGRAMS = {"pqrs": PQRS, "wxyz": WXYZ}


def machine(name, feedback=False):
    return Machine(tuple(PROGRAMS[name]), feedback)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_machine__is_the_published_one(name, feedback):
    built = machine(name, feedback)
    ours = iit.Substrate.from_units(built.units)
    example = f"findlay2024-computer-{name}{'-feedback' if feedback else ''}"
    theirs = iit.examples.load(example)
    order = [ours.labels.index(label) for label in theirs.labels]
    assert ours.n_units == PUBLISHED["units"]
    assert int(ours.connectivity.sum()) == PUBLISHED["edges_feedback" if feedback else "edges"]
    np.testing.assert_array_equal(ours.connectivity[np.ix_(order, order)], theirs.connectivity)
    state = built.update(built.loaded((0, 1, 0, 1) if name == "pqrs" else (1, 1, 0, 1)), feedback)
    assert [state[k] for k in order] == list(iit.examples.state(example))


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_machine__does_what_its_target_does(name, feedback):
    built = machine(name, feedback)
    assert [built.agreements(start, 3) for start in analyse.STARTS] == [3] * 16


@pytest.mark.parametrize("feedback", [False, True])
def test_machine__of_eight_bits(feedback):
    built = Machine(random_program(8, seed=1), feedback)
    assert len(built.units) == 2603
    assert built.agreements((1, 0, 1, 1, 0, 0, 1, 0), 2) == 2


@pytest.mark.parametrize(("name", "counts"), [("pqrs", (22, 23)), ("wxyz", (22, 22))])
def test_machine__complexes_of_the_whole_universe(name, counts):
    readings = analyse.machine_readings(name.upper(), False, (0, 2))
    assert tuple(len(each.complexes) for each in readings) == counts
    singles = {units[0]: [phi, big] for units, phi, big in readings[0].complexes if len(units) == 1}
    expected = {
        k: v for k, v in PUBLISHED["singletons_full_universe_t0_mine"].items() if v != [0, 0]
    }
    assert {k: pytest.approx(v) for k, v in expected.items()} == singles
    assert all(each.exhaustive and "loses nothing" in each.certificate for each in readings)


@pytest.mark.parametrize("name", PROGRAMS)
def test_machine__complexes_of_isolated_fragments_as_published(name):
    reading = analyse.isolated(name.upper())
    assert len(reading.complexes) == PUBLISHED["n_complexes_published"]
    rings = [each for each in reading.complexes if len(each[0]) == 4]
    expected = PUBLISHED[f"ring_Phi_{name.upper()}_program"]
    assert [big for _, _, big in rings] == pytest.approx(expected)
    assert {phi for _, phi, _ in rings} == {PUBLISHED["ring_phi_s"]}


@pytest.mark.parametrize("name", PROGRAMS)
def test_machine__with_feedback_is_searched_completely(name):
    (reading,) = analyse.machine_readings(name.upper(), True, (1,))
    assert reading.exhaustive
    assert "loses nothing on the effect side" in reading.certificate
    for units, phi, _ in reading.complexes:
        built = machine(name, feedback=True)
        substrate = iit.Substrate.from_units(built.units)
        state = built.update(built.loaded(analyse.CASES[name.upper()][1]))
        assert float(iit.sia(substrate, state, list(units))["phi"]) == pytest.approx(phi)


def test_page__shows_target_and_machine_side_by_side():
    target, edges = analyse.target_reading("PQRS")
    (first,) = analyse.machine_readings("PQRS", False, (0,))
    found = page.Findings(
        right={"PQRS": 320},
        most=320,
        targets={"PQRS": target},
        target_edges={"PQRS": edges},
        machines={"PQRS": [first]},
        feedback={"PQRS": [first]},
        fragments={"PQRS": first, "WXYZ": first},
    )
    text = page.written(found, machine("pqrs"))
    assert text.count("<svg") == 1
    assert "PQRS: 1 complex, Phi 391.2" in text
    assert "22 complexes, the largest Phi 6" in text
    assert text.count('class="complex"') == 23


def test_groupings__that_do_something_are_no_units():
    built = machine("pqrs")
    substrate = iit.Substrate.from_units(built.units)
    states = groupings.states_of_a_step(built)
    listed = groupings.groupings(built)
    assert len(listed) == 45
    for name in ("register 0", "clock", "multiplexer", "slot 3", "whole machine"):
        found = groupings.judge(substrate, states[:2], name, listed[name])
        assert (found.phi, found.verdict) == (0.0, "NOT_INTEGRATED")
    ring = groupings.judge(substrate, states[:1], "ring", listed["program ring 5"])
    assert (ring.phi, ring.verdict) == (2.0, "VALID")
    assert "phi_s 0 " in groupings.black_boxes(substrate, built, states)
