"""Complexes: published and golden values, brute force, and what a result promises."""

import json
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import given

import iitdask as iit
from iitdask.errors import InputError, StateError, UnreachableStateError
from iitdask.model.candidate_set import CandidateSet
from iitdask.run import plan
from iitdask.run.events import StageOpened
from iitdask.study.problem import Problem
from iitdask.study.run import run_job
from iitdask.theory.catalog import theory_options
from iitdask.theory.complexes.recipe import COMPLEX, LESS_PHI, OVERLAP, TIED, decide_exclusion
from tests import reference
from tests.strategies import cases, examples

FOLDER = Path(__file__).parents[2] / "golden"
FILES = sorted(path.stem for path in FOLDER.glob("complexes_*.json"))
CURRENT = {"name": "iit4-2026", "differentiation": "current"}  # as the reference reads the paper
THEORIES = {"iit4_2023": "iit4", "iit4_2026": CURRENT, "iit3": "iit3"}
STATES = ["".join(str(code >> i & 1) for i in range(4)) for code in range(16)]
PUBLISHED = json.loads((FOLDER / "findlay_published.json").read_text())


def sets(found, name="units"):
    return [tuple(np.flatnonzero(row).tolist()) for row in found[name].values]


def positive(found):
    return dict(zip(sets(found, "candidate_units"), found["candidate_phi"].values, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_complexes__golden(name):
    data = json.loads((FOLDER / f"{name}.json").read_text())
    substrate = iit.Substrate.from_tpm(np.array(data["tpm"], float), data["cm"])
    found = iit.complexes(substrate, data["state"], theory=THEORIES[data["theory"]])
    expected = data.get("tolerant_complexes", data["complexes"])
    near = 3e-6 if data["theory"] == "iit3" else 1e-9
    assert sets(found) == [tuple(each["subset"]) for each in expected]
    np.testing.assert_allclose(
        found["phi"].values, [each["phi"] for each in expected], rtol=near, atol=near
    )
    ours = positive(found)
    for each in data["candidates"]:
        assert ours.get(tuple(each["subset"]), 0.0) == pytest.approx(each["phi"], abs=near)


@cache
def target(name):
    return iit.examples.load(f"findlay2024-{name}")


def structures(name, state):
    """Label, phi_s, Phi, distinctions and relations of every complex."""
    found = iit.complexes(target(name), state)
    rows = []
    for label, phi in zip(found["complex"].values, found["phi"].values, strict=True):
        tree = iit.ces(target(name), state, label)
        count = int(tree["relations"]["count"])
        rows.append([label, phi, tree.attrs["big_phi"], tree.attrs["n_distinctions"], count])
    return rows


def agree(ours, published):
    """Published values have two or three decimals."""
    assert [row[0] for row in ours] == [row[0] for row in published]
    for mine, theirs in zip(ours, published, strict=True):
        assert mine[1] == pytest.approx(theirs[1], abs=0.006)
        assert mine[2] == pytest.approx(theirs[2], abs=0.006)
        assert mine[3:] == theirs[3:]


@pytest.mark.parametrize("state", STATES)
def test_complexes__pqrs_in_every_state(state):
    # In three states the publication, made with an earlier release, has another complex;
    # there the values of the reference implementation's present release are expected.
    table = PUBLISHED["PQRS"]
    published = table["pyphi2_differs"].get(state, table["major"][state])
    agree(structures("pqrs", state), [published])


@pytest.mark.parametrize("state", STATES)
def test_complexes__wxyz_in_every_state(state):
    published = PUBLISHED["WXYZ"]["complexes"].get(state)
    if published is None:
        with pytest.raises(UnreachableStateError, match="unreachable"):
            iit.complexes(target("wxyz"), state)
        return
    agree(structures("wxyz", state), published)


@pytest.mark.oracle
@pytest.mark.parametrize("theory", ["iit4", "iit4-2026"])
@examples(60)
@given(case=cases(units=(2, 3), background=False))
def test_complexes__brute_force(theory, case):
    check(case, theory)


@pytest.mark.oracle
@examples(25)
@given(case=cases(units=(4, 4)))
def test_complexes__brute_force_of_four_units(case):
    check(case, "iit4")


def check(case, theory):
    theirs = reference.complexes(case.factors, case.cm.astype(int), case.state, theory)
    found = iit.complexes(case.substrate(), case.state, theory=theory)
    expected = {tuple(sorted(c["subset"])): c["phi"] for c in theirs["candidates"] if c["phi"] > 0}
    ours = positive(found)
    assert sorted(ours) == sorted(expected)
    for units, phi in expected.items():
        assert ours[units] == pytest.approx(phi, rel=1e-9, abs=1e-9)
    assert sorted(sets(found)) == sorted(tuple(sorted(c["subset"])) for c in theirs["complexes"])
    assert found.attrs["exhaustive"]
    assert sum(map(int, found.attrs["excluded_by"].values())) + found.sizes["complex"] == (
        2 ** len(case.state) - 1
    )


@pytest.mark.parametrize("theory", ["iit4-2026", CURRENT], ids=["specified", "current"])
def test_complexes__capped_agree_with_sia(theory):
    substrate = iit.examples.load("iit4-2023-fig1")
    found = iit.complexes(substrate, "011", theory=theory)
    for units, phi in positive(found).items():
        assert float(iit.sia(substrate, "011", units, theory)["phi"]) == pytest.approx(phi)


def decided(candidates, phi, winners):
    """Run an exclusion whose contests are answered from a list."""
    search, asked, answers = decide_exclusion(candidates, phi), [], None
    while True:
        try:
            contests = search.send(answers)
        except StopIteration as stop:
            return (*stop.value, asked)
        asked += contests
        answers = [winners.pop(0) for _ in contests]


def test_excluded__the_larger_phi_wins_and_shuts_out_what_overlaps():
    accepted, fates, asked = decided([(0, 1), (1, 2), (2,)], [1.0, 2.0, 0.5], [])
    assert (accepted, asked) == ([1], [])
    assert fates == {0: OVERLAP, 1: COMPLEX, 2: OVERLAP}


def test_excluded__nobody_wins_a_tie_and_the_units_stay_available():
    accepted, fates, asked = decided([(0, 1), (1, 2), (0,)], [2.0, 2.0 + 1e-14, 1.0], [None])
    assert asked == [(0, 1)]
    assert accepted == [2]
    assert fates == {0: TIED, 1: TIED, 2: COMPLEX}


def test_excluded__one_winner_per_chain_even_if_others_do_not_overlap_it():
    accepted, fates, asked = decided([(0, 1), (1, 2), (2, 3)], [1.0] * 3, [0])
    assert (accepted, asked) == ([0], [(0, 1, 2)])
    assert fates == {0: COMPLEX, 1: LESS_PHI, 2: LESS_PHI}


def test_excluded__equal_systems_apart_are_no_contest():
    accepted, _, asked = decided([(0, 1), (2, 3)], [1.0, 1.0], [])
    assert (accepted, asked) == ([0, 1], [])


@pytest.fixture(scope="module")
def fig1():
    return iit.examples.load("iit4-2023-fig1")


def test_complexes__has_the_promised_variables(fig1):
    found = iit.complexes(fig1, "011")
    dims = {
        "phi": ("complex",),
        "units": ("complex", "unit"),
        "candidates_evaluated": (),
        "candidates_excluded_by": ("reason",),
        "candidate_phi": ("candidate",),
        "fate": ("candidate",),
    }
    assert {name: found[name].dims for name in dims} == dims
    assert found["unit"].values.tolist() == ["A", "B", "C"]
    assert found["fate"].sel(candidate="ABC") == "OVERLAP"
    assert found["units"].dtype == bool
    assert found.attrs["searched"] == "all non-empty subsets of all 3 units"
    assert found["phi"].attrs["units"] == "bit"


def test_complexes__max_size_says_what_was_not_searched(fig1):
    found = iit.complexes(fig1, "011", max_size=1)
    assert found["complex"].values.tolist() == ["C", "A", "B"]
    assert not found.attrs["exhaustive"]
    assert int(found.attrs["candidates_not_searched"]) > 0


def test_complexes__within_some_units(fig1):
    found = iit.complexes(fig1, "011", "AB")
    assert found["complex"].values.tolist() == ["AB"]
    assert found.attrs["candidates"] == "3"
    assert float(found["phi"][0]) == pytest.approx(float(iit.sia(fig1, "011", "AB")["phi"]))


def test_complexes__of_listed_candidates(fig1):
    found = iit.complexes(fig1, "011", candidates=["ABC", ["A", "B"]])
    assert found["complex"].values.tolist() == ["AB"]
    assert found["candidate"].values.tolist() == ["ABC", "AB"]
    assert found.attrs["candidates_not_searched"] == "5"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_size": 0}, "max_size: expected a whole number from 1"),
        ({"candidates": "AB"}, "candidates: expected a list"),
        ({"candidates": []}, "candidates: expected at least one"),
        ({"candidates": ["AX"]}, "candidates: entry 0"),
        ({"candidates": ["ABC"], "max_size": 2}, "entry 0: expected at most 2 units"),
        ({"candidates": ["AB"], "units": "BC"}, "entry 0: expected units of the pool"),
        ({"units": []}, "units: expected at least one unit"),
    ],
)
def test_complexes__refuses_what_does_not_fit(fig1, given, message):
    with pytest.raises(StateError, match=message):
        iit.complexes(fig1, "011", **given)


def test_complexes__needs_a_theory_that_defines_them(fig1):
    with pytest.raises(InputError, match="theory"):
        iit.complexes(fig1, "011", theory="iit2")


def test_complexes__counts_unreachable_candidates():
    # B copies A; with A on now and B off, no past of B alone explains B while A is held on.
    pair = iit.Substrate.from_units(
        [
            {"gate": "XOR", "inputs": ["A", "B"]},
            {"gate": "OR", "inputs": ["A", "B"]},
        ]
    )
    found = iit.complexes(pair, "11")
    kept = [
        units
        for size in (1, 2)
        for units in combinations(range(2), size)
        if not refused(pair, "11", units)
    ]
    assert int(found["candidates_excluded_by"].sel(reason="UNREACHABLE")) <= 3 - len(kept)
    assert set(sets(found, "candidate_units")) <= set(kept)


def refused(substrate, state, units):
    try:
        iit.sia(substrate, state, units)
    except UnreachableStateError:
        return True
    return False


def test_complexes__in_a_store_are_the_same_and_computed_once(fig1, tmp_path):
    url = tmp_path / "run.zarr"
    here = iit.complexes(fig1, "011")
    first = iit.complexes(fig1, "011", store=url)
    xr.testing.assert_identical(first, here)
    (tick,) = (url / "work" / "candidates" / "tick").glob("c.*")
    before = tick.stat().st_mtime_ns
    xr.testing.assert_identical(iit.complexes(fig1, "011", store=url), here)
    assert tick.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def dense():
    return iit.Substrate.from_tpm(np.random.default_rng(7).random((2**7, 7)))


def test_complexes__do_not_depend_on_the_blocks(dense, monkeypatch):
    whole = iit.complexes(dense, "0" * 7)
    monkeypatch.setattr(plan, "MIN_BLOCK_SECONDS", 0.0)
    point = Problem(CandidateSet.build(dense, "0" * 7), theory_options("iit4"), "complexes")
    events = []
    tree = run_job(point, block_seconds=1e-4, observers=[events.append])
    assert max(e.blocks for e in events if isinstance(e, StageOpened)) > 8
    xr.testing.assert_identical(tree["complexes"].to_dataset(), whole)


@pytest.mark.cluster
def test_complexes__on_a_cluster_have_the_same_bits(dense):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        found = iit.complexes(dense, "0" * 7, client=client)
    xr.testing.assert_identical(found, iit.complexes(dense, "0" * 7))
