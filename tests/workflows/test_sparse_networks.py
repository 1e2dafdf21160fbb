"""The gene networks are those of their papers, and every table has its rows."""

import pytest

import iitdask as iit
from workflows.sparse_networks import analyse, networks


def test_basins__are_the_printed_ones():
    for name, ours, printed in analyse.basin_rows():
        assert ours == printed, name


def test_leukemia__dies_or_survives_with_two_units_in_turn():
    substrate = networks.leukemia()
    attractors = iit.dynamics(substrate)["attractors"]["states"].values
    kept = [
        {frozenset(on_units(substrate, s) - {"CTLA4", "TCR"}) for s in a.split()}
        for a in attractors
    ]
    surviving = set(analyse.LEUKEMIC.split())
    assert kept == [
        {frozenset({"Apoptosis"})},
        {frozenset(surviving)},
        {frozenset(surviving - {"P2"})},
    ]


def on_units(substrate, state):
    return {label for label, value in zip(substrate.labels, state, strict=True) if value == "1"}


@pytest.mark.parametrize("model", analyse.MODELS, ids=lambda model: model.name)
def test_models__are_in_a_state_that_they_can_be_in(model):
    substrate, state = model.make(), model.state
    assert sum(state) == len(model.on.split())
    after = [int(f.table[tuple(state[a] for a in f.parents)][1]) for f in substrate.factors]
    is_fixed = any(word in model.name for word in ("G1", "rest", "wild"))
    assert (after == state) == is_fixed
    assert iit.complexes(substrate, state).attrs["exhaustive"]


def test_tables__of_small_networks():
    (row,) = analyse.gene_rows(analyse.MODELS[:1])
    assert row[:2] == ["budding yeast, G1", "11 of 11"]
    assert "Cdh1; SBF; MBF (1.0000)" in row[6]
    (ring,) = analyse.ring_rows({110: (5,)})
    tree = iit.ces(networks.automaton(110, 5), "00000")
    assert ring[:3] == ["110", "5", str(tree.attrs["n_distinctions"])]
    (grid,) = analyse.grid_rows(((2, 3),))
    assert grid[0] == "2 x 3"
    lines = analyse.table("a | b", iter([["1", "2"]]))
    assert lines == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_pages__show_structure_and_complexes(tmp_path):
    written = list(analyse.pages(tmp_path / "pages", analyse.MODELS[:1]))
    assert [path.name for path in written] == [
        "budding_yeast_G1_ces.html",
        "budding_yeast_G1_complexes.html",
    ]
    assert all("Cdh1" in path.read_text(encoding="utf-8") for path in written)
