"""Structures of more distinctions than a page draws, and structures that are not finished."""

import warnings

import numpy as np
import pytest
from bokeh.document import Document

import iitdask as iit
from iitdask.errors import InputError, PartialResultWarning
from iitdask.model.system import System
from iitdask.run.storage import open_store
from iitdask.study.problem import Problem, load_for_view
from iitdask.study.run import run_job
from iitdask.theory.iit4 import repertoires
from iitdask.theory.options import IIT4
from iitdask.view import relation_figures, structure_figures
from iitdask.view.explorer import explorer_html, fill_explorer
from tests.runs import Stop

MOST = 5  # Distinctions that are drawn in these tests


@pytest.fixture
def few(monkeypatch):
    """Draw no more than a few distinctions."""
    for module in (repertoires, structure_figures):
        monkeypatch.setattr(module, "MAX_SHOWN_DISTINCTIONS", MOST)
    monkeypatch.setattr(structure_figures, "MAX_FOLDS", 2)
    monkeypatch.setattr(relation_figures, "MAX_LISTED_RELATIONS", 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return the store of a structure of more distinctions than that."""
    path = tmp_path_factory.mktemp("large") / "s.zarr"
    iit.ces(iit.examples.load("findlay2024-pqrs"), "0000", store=path)
    return path


def models(tree):
    doc = Document()
    fill_explorer(doc, tree)
    return doc


@pytest.mark.usefixtures("few")
def test_explorer__draws_the_largest_distinctions_and_says_so(store):
    whole = load_for_view(open_store(str(store)))
    data = whole["distinctions"].to_dataset()
    count = data.sizes["mechanism"]
    assert count > MOST
    listed = models(whole).get_model_by_name("distinctions").data
    largest = np.argsort(-data["phi"].values, kind="stable")[:MOST]
    names = data["mechanism"].values.astype(str)
    assert set(names[largest]) <= set(listed["mechanism"]) < set(names)
    phi = dict(zip(names, data["phi"].values.tolist(), strict=True))
    assert listed["phi"].tolist() == [phi[name] for name in listed["mechanism"]]
    relations = models(whole).get_model_by_name("relations").data
    related = [[listed["mechanism"][k] for k in members] for members in relations["members"]]
    wanted = [list(each.mechanisms) for each in iit.relations.iterate(whole, top=len(related))]
    assert related == wanted
    kept = structure_figures.largest_distinctions(whole)
    assert f"{kept['distinctions'].sizes['mechanism']} largest of {count}" in (
        structure_figures.drawn_text(whole, kept)
    )


@pytest.mark.usefixtures("few")
def test_repertoires__of_the_distinctions_drawn_are_those_of_the_structure(store):
    whole = load_for_view(open_store(str(store)))
    kept = structure_figures.largest_distinctions(whole, ["PQRS"])
    names = whole["distinctions"]["mechanism"].values.astype(str).tolist()
    before, after = (tree["repertoires"].to_dataset() for tree in (whole, kept))
    for side in ("cause", "effect"):
        for k, name in enumerate(kept["distinctions"]["mechanism"].values.astype(str)):
            rows = [
                slice(*data[f"shown_begin_{side}"].values[at : at + 2].tolist())
                for data, at in ((before, names.index(name)), (after, k))
            ]
            for variable in (f"shown_code_{side}", f"shown_constrained_{side}"):
                one, other = before[variable].values[rows[0]], after[variable].values[rows[1]]
                assert one.tolist() == other.tolist()
    shown = np.diff(before["shown_begin_cause"].values) > 0
    assert shown.sum() == MOST


@pytest.mark.usefixtures("few")
def test_plot__draws_the_largest_distinctions_and_says_so(store):
    tree = iit.open(store)
    count = tree["distinctions"].sizes["mechanism"]
    for draw in (iit.plot.by_order, iit.plot.plane):
        assert f"largest of {count}" in draw(tree).title.text
    assert len(iit.plot.pairs(tree).renderers[0].data_source.data["kind"][0]) < count
    iit.plot.relations(tree)
    with pytest.raises(InputError, match="distinctions"):
        iit.plot.lattice(tree)


def test_pages__of_an_unfinished_structure_show_what_was_found(tmp_path):
    copies = iit.Substrate.from_factors(
        [([(i - 1) % 7, i], [[[0.9, 0.1], [0.3, 0.7]], [[0.4, 0.6], [0.2, 0.8]]]) for i in range(7)]
    )
    options, path = IIT4(search="sparse"), tmp_path / "s.zarr"
    problem = Problem(System.build(copies, "1" * 7), options, "ces")
    with pytest.raises(KeyboardInterrupt):
        run_job(problem, store=path, observers=[Stop("sparse/mice", 3)], block_seconds=1e-5)
    with pytest.warns(PartialResultWarning, match="not finished"):
        part = iit.open(path)
    found = part["mechanisms"].to_dataset()
    assert found.sizes["mechanism"] > 0
    assert "so far" in iit.plot.by_order(part).title.text
    assert "so far" in iit.plot.plane(part).title.text
    page = explorer_html(part)
    assert "Not finished" in page
    assert "blocks of its mechanisms are searched" in page
    # One mechanism of each orbit of the rotations is searched: all its images are found.
    whole = iit.ces(copies, "1" * 7, theory=options)["distinctions"].to_dataset()
    phi = dict(zip(whole["mechanism"].values, whole["phi"].values.tolist(), strict=True))
    listed = dict(zip(found["mechanism"].values, found["phi"].values.tolist(), strict=True))
    assert listed == pytest.approx({name: phi[name] for name in listed}, abs=1e-12)
    assert found.sizes["mechanism"] % 7 in (0, 1)


def test_compare__of_folds_beyond_a_double_warns_of_nothing(store):
    tree = iit.open(store)
    tree["distinctions"]["fold"] = tree["distinctions"]["fold"] * np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = iit.compare(tree, tree)
    assert (found["distinctions"]["delta_fold"].values == 0).all()
    assert (found["distinctions"]["status"].values == "same").all()
