"""Repertoires of distinctions and the landscape of small systems, against the oracle."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given

import iitdask as iit
from iitdask.errors import UnreachableStateError
from iitdask.model.system import System
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from iitdask.theory.iit4.recipe import ces
from iitdask.theory.iit4.repertoires import (
    EVALUATED,
    EXCLUDED,
    UNCONNECTED,
    add_shown_states,
    landscape,
)
from iitdask.theory.options import IIT4
from iitdask.view.explorer import explorer_html
from tests.reference.mechanisms import admissible, link
from tests.reference.substrate import CAUSE, EFFECT
from tests.reference.substrate import System as Oracle
from tests.strategies import cases, examples

SIDES = (("cause", CAUSE), ("effect", EFFECT))


def unfolded(case):
    try:
        tree = iit.ces(case.substrate(), case.state, case.units)
    except UnreachableStateError:
        assume(False)
    return tree, System.build(case.substrate(), case.state, case.units)


def rows_of(written, side, k):
    begin, end = written[f"shown_begin_{side}"].values[k : k + 2]
    names = ("code", "constrained", "unconstrained", "partitioned")
    return [written[f"shown_{name}_{side}"].values[begin:end] for name in names]


def kept_row(tree, side, k):
    node = tree["repertoires"]
    begin, end = node[f"begin_{side}"].values[k : k + 2]
    return node[f"constrained_{side}"].values[begin:end]


def test_kept_repertoires__are_the_same_from_many_blocks():
    system = System.build(
        iit.examples.load("iit4-2023-fig6d"), iit.examples.state("iit4-2023-fig6d")
    )
    recipes = [ces(system, IIT4()) for _ in range(2)]
    whole, split = (
        execute(recipe, MemoryLedger(), SerialEngine(), block_seconds=seconds)
        for recipe, seconds in zip(recipes, (5.0, 1e-9), strict=True)
    )
    xr.testing.assert_identical(
        whole["repertoires"].to_dataset(), split["repertoires"].to_dataset()
    )
    assert whole["repertoires"].sizes["row_effect"] > 100


def test_kept_repertoires__are_left_out_where_they_would_be_too_many(monkeypatch):
    monkeypatch.setattr("iitdask.theory.iit4.repertoires.MAX_STORED_STATES", 9)
    tree = iit.ces(iit.examples.load("basic"), "100")
    assert "repertoires" not in tree.children
    assert len(tree["distinctions"].phi) == 2


def test_view__of_a_structure_of_thirty_units_needs_no_table_over_its_states(tmp_path):
    noisy = np.array([[0.9, 0.1], [0.2, 0.8]])
    ring = iit.Substrate.from_factors([([(i - 1) % 30], noisy) for i in range(30)])
    iit.ces(ring, [0] * 30, store=str(tmp_path / "ring.zarr"))
    tree = load_for_view(open_store(tmp_path / "ring.zarr"))
    assert tree["distinctions"].sizes["mechanism"] == 30
    shown = tree["repertoires"]
    np.testing.assert_allclose(shown["shown_constrained_effect"], [0.9, 0.1] * 30)
    np.testing.assert_allclose(shown["shown_unconstrained_effect"], [0.55, 0.45] * 30)
    np.testing.assert_allclose(shown["shown_constrained_cause"], [9 / 11, 2 / 11] * 30)
    assert "U29" in explorer_html(tree)


@pytest.mark.oracle
@examples(60)
@given(cases(background=True))
def test_repertoires__are_those_of_the_definitions(case):
    tree, system = unfolded(case)
    data = tree["distinctions"].to_dataset()
    written = add_shown_states(system, data, None, 10_000)
    oracle = Oracle(case.factors, case.cm, case.state, case.units)
    for k in range(data.sizes["mechanism"]):
        mechanism = tuple(case.units[i] for i in np.flatnonzero(data["mechanism_units"].values[k]))
        for side, direction in SIDES:
            purview = tuple(
                case.units[i] for i in np.flatnonzero(data[f"purview_{side}"].values[k])
            )
            code, constrained, unconstrained, partitioned = rows_of(written, side, k)
            assert code.tolist() == list(range(len(code)))
            theirs = oracle.selectivity(direction, mechanism, purview).ravel(order="F")
            assert constrained == pytest.approx(theirs, abs=1e-12)
            assert kept_row(tree, side, k) == pytest.approx(theirs, abs=1e-12)
            if direction == EFFECT:
                theirs = oracle.unconstrained_effect(mechanism, purview).ravel(order="F")
            else:
                theirs = np.full(len(code), 1 / len(code))
            assert unconstrained == pytest.approx(theirs, abs=1e-12)
            assert partitioned.sum() == pytest.approx(1.0)


@examples(60)
@given(cases(background=True))
def test_repertoires__give_phi_at_the_specified_state(case):
    tree, system = unfolded(case)
    data = tree["distinctions"].to_dataset()
    written = add_shown_states(system, data)
    for side, _ in SIDES:
        ratio = written[f"likelihood_{side}"] / written[f"likelihood_partitioned_{side}"]
        phi = written[f"selectivity_{side}"].values * np.log2(ratio.values)
        assert phi == pytest.approx(data[f"phi_{side}"].values, abs=1e-12)


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "computed"])
@pytest.mark.parametrize("most", [1, 3, 7])
def test_repertoires__keep_the_most_probable_states_and_the_specified_one(most, is_stored):
    substrate = iit.examples.load("iit4-2023-fig6d")
    system = System.build(substrate, iit.examples.state("iit4-2023-fig6d"))
    tree = iit.ces(substrate, system.state)
    data, stored = (tree[node].to_dataset() for node in ("distinctions", "repertoires"))
    constrained = stored if is_stored else None
    whole, some = (add_shown_states(system, data, constrained, count) for count in (1000, most))
    if is_stored:
        xr.testing.assert_identical(some[list(stored)], stored)
    for side, _ in SIDES:
        for k in range(data.sizes["mechanism"]):
            every, kept = rows_of(whole, side, k), rows_of(some, side, k)
            assert len(kept[0]) == min(most, len(every[0]))
            assert some[f"selectivity_{side}"].values[k] in kept[1]
            likely = np.sort(every[1])[::-1][:most]
            assert (np.sort(kept[1])[::-1][:-1] >= likely[:-1]).all()
            for all_of, some_of in zip(every, kept, strict=True):
                assert some_of == pytest.approx(all_of[kept[0]], abs=1e-14)


@pytest.mark.oracle
@examples(40)
@given(cases(units=(2, 3), background=True))
def test_landscape__is_phi_of_every_pair_and_what_is_excluded_cannot_win(case):
    try:
        system = System.build(case.substrate(), case.state, case.units)
    except UnreachableStateError:
        assume(False)
    oracle = Oracle(case.factors, case.cm, case.state, case.units)
    found = landscape(system)
    phi, outcome = found["pair_phi"].values, found["outcome"].values
    sets = [
        tuple(unit for i, unit in enumerate(case.units) if mask >> i & 1)
        for mask in range(1, 1 << system.n)
    ]
    for row, (_, direction) in enumerate(SIDES):
        for m, mechanism in enumerate(sets):
            for z, purview in enumerate(sets):
                if not admissible(case.cm, direction, mechanism, purview):
                    assert outcome[row, m, z] == UNCONNECTED
                    assert np.isnan(phi[row, m, z])
                    continue
                theirs = link(oracle, direction, mechanism, purview).phi
                assert phi[row, m, z] == pytest.approx(theirs, abs=1e-9)
            evaluated = phi[row, m][outcome[row, m] == EVALUATED]
            excluded = phi[row, m][outcome[row, m] == EXCLUDED]
            best = max(evaluated, default=0.0)
            assert max(excluded, default=0.0) <= best + 1e-9
