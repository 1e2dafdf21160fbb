"""Lattices, pairs, folds and transitions of a structure: what is drawn, and how it is linked."""

from itertools import product

import numpy as np
import pytest
from bokeh.models import Div, Image, MultiLine, Plot

import iitdask as iit
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from iitdask.view.lattice_figures import PAIR_COLOURS, covers, lattice_panels, lattice_sets
from iitdask.view.structure_figures import distinctions_source
from iitdask.view.transition_figures import state_transitions, transition_panels
from tests.view.browser import opened

READ = """() => {
  const doc = Bokeh.documents[0], listed = doc.get_model_by_name("distinctions")
  const states = doc.get_model_by_name("states").data
  const marked = (side) => Array.from(states.name).filter((_, k) => states[side][k] > 0)
  return {
    names: Array.from(listed.data.mechanism),
    fold: doc.get_model_by_name("fold").text,
    cross: Array.from(doc.get_model_by_name("pair-cross").data.place),
    now: marked("now"), cause: marked("cause"), effect: marked("effect"),
  }
}"""
SELECT = """(d) => {
  Bokeh.documents[0].get_model_by_name("distinctions").selected.indices = d
}"""


def view_of(store):
    tree = load_for_view(open_store(store))
    return tree, distinctions_source(tree["distinctions"].to_dataset())


def models(parts, kind, name=None):
    found = [model for part in parts for model in part.select({"type": kind})]
    return [model for model in found if name is None or model.name == name]


def texts(parts):
    return " ".join(each.text for each in models(parts, Div))


def test_views__follow_the_selected_distinction(browser, explorers, stores):
    data = view_of(stores("findlay2024-pqrs"))[0]["distinctions"].to_dataset()
    big_phi = iit.open(stores("findlay2024-pqrs")).attrs["big_phi"]
    with opened(browser, explorers("findlay2024-pqrs").as_uri(), "explorer-lattices") as page:
        names = page.evaluate(READ)["names"]
        for name in ("PQS", "R" if "R" in names else "S"):
            d = names.index(name)
            page.evaluate(SELECT, [d])
            now = page.evaluate(READ)
            fold = data["fold"].values[d]
            assert f"<b>{name}</b>: {fold:.6g}" in now["fold"]
            assert f"{100 * fold / big_phi:.3g} % of Φ" in now["fold"]
            assert now["cross"] == [d + 0.5]
            assert now["now"] == ["0101"]
            for side in ("cause", "effect"):
                own = data[f"state_{side}"].values[d]
                agree = [
                    "".join(map(str, state[::-1]))
                    for state in product((0, 1), repeat=4)
                    if all(v in (-1, s) for v, s in zip(own, state[::-1], strict=True))
                ]
                assert now[side] == agree
        page.evaluate(SELECT, [0, 1])
        assert "The 2 selected together" in page.evaluate(READ)["fold"]


@pytest.mark.parametrize("n", [1, 3, 4])
def test_lattice__of_all_sets_has_an_edge_for_each_added_unit(n):
    sets = lattice_sets([], n)
    assert sets == sorted(range(1, 1 << n), key=lambda mask: (mask.bit_count(), mask))
    edges = covers(sets)
    assert set(edges) == {(low, low | 1 << k) for low in sets for k in range(n) if not low >> k & 1}
    assert len(edges) == n * 2 ** (n - 1) - n


def test_lattice__of_sets_that_occur_skips_the_others():
    rng = np.random.default_rng(5)
    sets = sorted({int(mask) for mask in rng.integers(1, 1 << 9, 40)})
    reach = {(a, b) for a in sets for b in sets if a != b and a & ~b == 0}
    between = {(a, b) for a, c in reach for d, b in reach if c == d}
    assert set(covers(sets)) == reach - between
    assert lattice_sets([1 << 8] * 70, 9) == [1 << 8]
    assert lattice_sets(range(1, 70), 9) == []


def test_pairs__are_coloured_by_how_their_purviews_lie(stores):
    tree, source = view_of(stores("findlay2024-pqrs"))
    parts = lattice_panels(tree, source)
    data = tree["distinctions"].to_dataset()
    for side in ("cause", "effect"):
        (fig,) = models(parts, Plot, f"pairs-{side}-figure")
        (image,) = (r for r in fig.renderers if isinstance(r.glyph, Image))
        units = [set(np.flatnonzero(row)) for row in data[f"purview_{side}"].values]
        for a, b in product(range(len(units)), repeat=2):
            kind = list(PAIR_COLOURS)[image.data_source.data["kind"][0][a, b]]
            mine, other = units[a], units[b]
            if mine == other:
                assert kind == "same"
            elif mine > other:
                assert kind == "includes"
            elif mine < other:
                assert kind == "included"
            else:
                assert kind == ("connected" if mine & other else "disjoint")


def test_folds__are_drawn_from_the_largest_on(stores):
    tree, source = view_of(stores("findlay2024-pqrs"))
    parts = lattice_panels(tree, source)
    assert "All folds; together all are Φ" in texts(parts)
    order = np.argsort(source.data["fold_rank"])
    assert (np.diff(source.data["fold"][order]) <= 0).all()
    assert source.data["fold"].sum() == pytest.approx(tree.attrs["big_phi"], rel=1e-12)
    lattice = models(parts, Plot, "lattice-mechanism-figure")[0]
    lines = next(r for r in lattice.renderers if isinstance(r.glyph, MultiLine))
    assert len(lines.data_source.data["xs"]) == 4 * 8 - 4


def test_views__of_a_large_structure_say_what_is_left_out(monkeypatch, stores):
    tree, source = view_of(stores("findlay2024-pqrs"))
    count = tree["distinctions"].sizes["mechanism"]
    for name, value in (("MAX_FOLDS", 5), ("MAX_PAIRED", 4), ("MAX_SETS", 3)):
        monkeypatch.setattr(f"iitdask.view.lattice_figures.{name}", value)
    monkeypatch.setattr("iitdask.view.lattice_figures.LATTICE_MAX_UNITS", 2)
    parts = lattice_panels(tree, source)
    said = texts(parts)
    assert f"The 5 largest of {count} folds" in said
    assert f"The 4 with the largest φ_d of {count} distinctions" in said
    assert f"Not drawn: {count} mechanisms" in said
    assert not models(parts, Plot, "lattice-mechanism-figure")
    kept = np.flatnonzero(~np.isnan(source.data["pair_place"]))
    assert set(kept) == set(np.argsort(-source.data["phi"], kind="stable")[:4])


def test_folds__beyond_double_range_are_a_sentence(stores):
    tree, source = view_of(stores("findlay2024-pqrs"))
    source.data["fold"] = np.full_like(source.data["fold"], np.inf)
    tree.attrs["big_phi"] = np.inf
    assert "log2_fold" in texts(lattice_panels(tree, source))


def test_states__have_the_probabilities_of_the_product():
    rng = np.random.default_rng(2)
    levels = [2, 3, 2]
    parts = [rng.dirichlet(np.ones(k), 12) for k in levels]
    chance = state_transitions(np.hstack(parts), levels)
    for row in range(12):
        for a, b, c in product(range(2), range(3), range(2)):
            expected = parts[0][row, a] * parts[1][row, b] * parts[2][row, c]
            assert chance[row, a + 2 * b + 6 * c] == pytest.approx(expected, rel=1e-14)


def test_transitions__of_a_noisy_substrate_tell_how_many_are_left_out(tmp_path):
    noisy = iit.Substrate.from_tpm(np.random.default_rng(3).uniform(0.2, 0.8, (8, 3)))
    iit.sia(noisy, "011", store=tmp_path / "x.zarr")
    tree = load_for_view(open_store(tmp_path / "x.zarr"))
    data = tree["transitions"].to_dataset()
    chance = state_transitions(data["next_probability"].values, [2, 2, 2])
    drawn = chance >= 0.1
    drawn[np.arange(8), chance.argmax(axis=1)] = True
    said = texts(transition_panels(tree))
    assert f"Of 64 possible transitions {drawn.sum()} are drawn: those of probability" in said
    assert data["column"].values.tolist() == ["A=0", "A=1", "B=0", "B=1", "C=0", "C=1"]


def test_transitions__of_many_units_are_a_sentence(tmp_path):
    units = [{"label": f"U{k}", "gate": "COPY", "inputs": [f"U{(k - 1) % 7}"]} for k in range(7)]
    ring = iit.Substrate.from_units(units)
    iit.sia(ring, "0" * 7, store=tmp_path / "x.zarr")
    tree = load_for_view(open_store(tmp_path / "x.zarr"))
    assert "transitions" not in tree.children
    assert "Not drawn: the states of 7 units; at most 64 states are." in texts(
        transition_panels(tree)
    )
