"""What every page has: its subject, its counts, its tables; what stands for an empty result."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.models import ColumnDataSource, DataTable
from bokeh.resources import INLINE

import iitdask as iit
from iitdask.result.formatting import Table
from iitdask.result.overview import source_of
from iitdask.result.relation_iteration import iterate, relations_of_each
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from iitdask.theory.iit4.relations import Bindings
from iitdask.theory.iit4.relations import relations_of_each as count_each
from iitdask.view import pages
from iitdask.view.accessor import as_tree
from iitdask.view.explorer import explorer_html
from tests.view.browser import opened


def test_source__of_an_example_is_its_name_title_and_citation(stores):
    tree = load_for_view(open_store(stores("findlay2024-pqrs")))
    subject, citation = source_of(tree)
    spec = iit.examples.spec("findlay2024-pqrs")
    assert subject == f"findlay2024-pqrs: {spec['title']}"
    assert citation == spec["citation"]
    assert f'<p class="source">Please cite: {citation[:20]}' in explorer_html(tree)
    alone = iit.sia(iit.examples.load("findlay2024-pqrs"), "0101")
    assert alone.attrs["substrate_citation"] == citation
    assert source_of(iit.ces(iit.Substrate.from_tpm([[0], [1]]), "1")) == ("", "")


def test_source__of_a_sweep_is_that_of_what_is_swept():
    cube = iit.sweep({"noise": [0, 0.1]}, "basic", "100")
    assert cube.attrs["substrate_name"] == "basic"
    assert cube.attrs["substrate_title"] == iit.examples.spec("basic")["title"]


@pytest.mark.parametrize("name", ["xor", "basic", "findlay2024-pqrs"])
def test_relations_of_each__are_those_that_are_listed(name):
    tree = iit.ces(iit.examples.load(name), iit.examples.state(name))
    names = [str(each) for each in tree["distinctions"]["mechanism"].values]
    counts = dict.fromkeys(names, 0)
    for relation in iterate(tree):
        for member in relation.mechanisms:
            counts[member] += 1
    assert relations_of_each(tree) == list(counts.values())


def test_relations_of_each__by_definition():
    rng = np.random.default_rng(3)
    for _ in range(20):
        cause, effect = (tuple(map(int, rng.integers(1, 32, 6))) for _ in range(2))
        union = [c | e for c, e in zip(cause, effect, strict=True)]
        expected = [int(bool(c & e)) for c, e in zip(cause, effect, strict=True)]
        for size in range(2, 7):
            for chosen in combinations(range(6), size):
                if np.bitwise_and.reduce([union[d] for d in chosen]):
                    for d in chosen:
                        expected[d] += 1
        assert count_each(Bindings(np.ones(6), cause, effect)) == expected


def test_relations_of_each__are_not_counted_where_that_is_too_much():
    masks = tuple((1 << 24) - 1 for _ in range(3))
    assert count_each(Bindings(np.ones(3), masks, masks)) is None


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: iit.ces(iit.Substrate.from_tpm([[0.5, 0.5]] * 4), "10"), "has no distinctions: "),
        (lambda: iit.complexes(iit.Substrate.from_tpm([[0.5, 0.5]] * 4), "10"), "No complexes: "),
        (
            lambda: iit.account(iit.Substrate.from_tpm([[0.5, 0.5]] * 4), "10", "01"),
            "No links: ",
        ),
        (
            lambda: iit.sweep({"noise": [0]}, "basic", "010"),
            "No point of this sweep has numbers.",
        ),
    ],
    ids=["structure", "complexes", "account", "sweep"],
)
def test_an_empty_result__is_one_sentence(made, sentence):
    result = made()
    html = explorer_html(result if hasattr(result, "children") else as_tree(result))
    models = [m for m in documents(html) if m["name"] in ("DataTable", "TextInput")]
    assert sentence in html
    assert models == []


def documents(html):
    """Models of the documents of a page."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            if value.get("type") == "object":
                found.append(value)
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    (text,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    walk(json.loads(text))
    return found


def test_text_table__sorts_numbers_as_numbers_and_states_as_text():
    rows = [("A", "10", "0.25"), ("B", "9", "1e-05"), ("C", "2", "3")]
    table = pages.text_table(Table("things", ("name", "count", "phi"), rows))
    (inner,) = table.select({"type": DataTable})
    data = inner.source.data
    assert data["0"] == ["A", "B", "C"]
    assert data["1"] == [10, 9, 2]
    assert data["2"] == [0.25, 1e-05, 3]
    states = pages.text_table(Table("states", ("state",), [("010",), ("110",)]))
    (inner,) = states.select({"type": DataTable})
    assert inner.source.data["0"] == ["010", "110"]


def test_counts__stand_beside_dots_that_coincide():
    fig = pages.empty_figure("dots")
    source = ColumnDataSource({"x": [0, 0, 1, 1.0001, 0], "y": [1, 1, 2, 2, 0]})
    pages.add_counts(fig, "x", "y", source)
    (renderer,) = fig.renderers
    assert sorted(renderer.data_source.data["text"]) == ["×2", "×2"]


def test_spread__keeps_dots_of_one_group_apart():
    offsets = pages.spread_offsets(np.array([1, 2, 1, 1]))
    assert len(set(offsets[[0, 2, 3]])) == 3
    assert np.abs(offsets).max() < 0.5
    assert offsets[1] == 0


def test_links__that_meet_at_a_unit_end_side_by_side():
    name = "causation2019-majority3"
    spec = iit.examples.spec(name)
    tree = iit.account(iit.examples.load(name), spec["before"], spec["after"])
    from iitdask.view.account_figures import links_source

    data = links_source(tree).data
    lines = zip(data["xs"], data["ys"], strict=True)
    ends = [(x[k], y[k]) for x, y in lines for k in range(0, len(x), 3)]
    assert len(ends) > 4
    assert len(set(ends)) == len(ends)


def test_large_numbers__are_rounded_in_a_table_and_whole_in_its_file(browser, tmp_path):
    folds = [1.23456789e49, 12.5, 0.0, np.nan]
    source = ColumnDataSource({"name": [*"ABCD"], "fold": folds, "phi": [0.25, 0.5, 0.75, 1.0]})
    kinds = {"name": "text", "fold": "number", "phi": "number"}
    columns = [pages.Column(name, name, 100, kind) for name, kind in kinds.items()]
    table = pages.data_table(source, columns, height=200, name="rows")
    doc = Document()
    pages.fill_page(doc, "rows", table, name="rows-page")
    path = tmp_path / "rows.html"
    variables = dict(doc.template_variables)
    html = file_html(doc, INLINE, "rows", template=doc.template, template_variables=variables)
    path.write_text(html, encoding="utf-8")
    with opened(browser, path.as_uri(), "large-numbers") as page:
        cells = page.locator(".slick-cell").all_inner_texts()
        assert cells[:9] == [
            "A", "1.235e+49", "0.250000", "B", "12.5", "0.500000", "C", "0", "0.750000",
        ]  # fmt: skip
        assert cells[9:] == ["D", "-", "1.000000"]
        page.locator("input").fill("1.235e")
        assert page.get_by_text("1 of the 4 listed").is_visible()
        with page.expect_download() as download:
            page.locator("button").get_by_text("CSV").click()
        saved = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert saved == ["name,fold,phi", "A,1.23456789e+49,0.25"]
