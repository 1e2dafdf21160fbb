"""Figures one by one, and results that show themselves in notebooks."""

from html import unescape

import numpy as np
import pytest
import xarray as xr
from bokeh.plotting import figure

import iitdask as iit
from iitdask.errors import InputError
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from tests.view.browser import opened

XOR = iit.examples.load("xor")


@pytest.fixture(scope="module")
def tree():
    return iit.ces(XOR, "000")


@pytest.mark.parametrize(
    "name", ["network", "by_order", "plane", "relations", "relations_by_degree", "relations_by_phi"]
)
def test_plot__draws_a_structure(tree, name):
    fig = getattr(tree.iit.plot, name)()
    assert isinstance(fig, figure)
    assert fig.title.text
    assert fig.renderers


@pytest.mark.parametrize("name", ["network", "plane"])
def test_plot__shows_itself_in_a_frame(tree, name):
    fig = getattr(iit.plot, name)(tree, **({"size": 300} if name == "network" else {}))
    html = fig._repr_html_()
    assert html.startswith("<iframe srcdoc=")
    assert f"height: {fig.height + 30}px" in html
    assert fig.title.text.replace("'", "&#x27;") in unescape(html)


def test_network__of_an_account_is_refused():
    with pytest.raises(InputError, match=r"plot.network: expected the result of sia or ces"):
        iit.plot.network(iit.account(iit.examples.load("basic"), "110", "100"))


def test_plot__names_the_unit_of_every_axis_of_phi(tree):
    fig = iit.plot.plane(tree)
    assert [axis.axis_label for axis in fig.axis] == ["φ_c (bits)", "φ_e (bits)"]


def test_plot__draws_a_system_with_its_connections_from_its_dataset_alone():
    found = iit.sia(XOR, "000")
    fig = iit.plot.network(found)
    names = {
        name for each in fig.renderers for name in each.data_source.data.get("name", np.array([]))
    }
    assert names == {"A→B", "A→C", "B→A", "B→C", "C→A", "C→B"}


def test_plot__draws_the_landscape_of_a_store(stores):
    fig = iit.plot.landscape(load_for_view(open_store(stores("rule110"))), "effect")
    assert "effect purview" in fig.title.text


def test_plot__draws_complexes_and_accounts():
    found = iit.complexes(XOR, "000")
    assert iit.plot.complexes(found).renderers
    account = iit.account(XOR, "000", "000")
    assert account.iit.plot.account().renderers


def test_plot__names_what_a_result_lacks():
    with pytest.raises(InputError, match="a node 'relations', got nodes system"):
        iit.plot.relations(iit.sia(XOR, "000"))


def test_accessor__has_no_other_figures(tree):
    with pytest.raises(AttributeError, match="no figure 'pie'"):
        tree.iit.plot.pie()
    assert dir(tree.iit.plot) == sorted(iit.plot.__all__)


def test_accessor__shows_numbers_and_escapes_names():
    name = "<b>A</b>"
    pair = iit.Substrate.from_units(
        [
            {"label": name, "gate": "COPY", "inputs": ["B"]},
            {"label": "B", "gate": "COPY", "inputs": [name]},
        ]
    )
    html = iit.ces(pair, "10").iit._repr_html_()
    assert "2 bits" in html
    assert name not in html
    assert "&lt;b&gt;A" in html


def test_accessor__leaves_other_datasets_as_they_are():
    data = xr.Dataset({"x": ("t", [1, 2])})
    html = data.iit._repr_html_()
    assert "xr-wrap" in html
    assert "iitdask" not in html


def test_accessor__shows_what_a_sweep_found():
    html = iit.sweep({"state": "all"}, "basic").iit._repr_html_()
    assert "Sweep over state" in html
    assert "8 done" in html or "unreachable" in html


def test_accessor__shows_accounts_nexus_and_events():
    nexus = iit.causal_nexus(XOR, "000", "000")
    assert "Account of ABC from 000 to 000" in nexus.iit._repr_html_()
    events = iit.true_events(XOR, "000", "000", "000")
    html = events.iit._repr_html_()
    assert "True events" in html
    assert "3" in html


def test_explorer__in_a_notebook_is_a_frame_of_its_own(browser, tree, tmp_path):
    page = tree.iit.explorer()
    page.save(tmp_path / "alone.html")
    with opened(browser, (tmp_path / "alone.html").as_uri(), "explorer-saved"):
        pass
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{page._repr_html_()}", encoding="utf-8")
    outside = browser.new_page()
    errors = []
    outside.on("pageerror", lambda error: errors.append(str(error)))
    outside.goto(path.as_uri())
    outside.frame_locator("iframe").get_by_text("15 relations").wait_for()
    outside.close()
    assert errors == []
