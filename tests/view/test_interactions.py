"""Every interaction of the pages, on a telephone, a laptop and a large screen, in both themes.

axe-core (https://www.npmjs.com/package/axe-core) looks for what keeps people out: IITDASK_AXE names
its file axe.min.js.
"""

import csv
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from iitdask.view.accessor import as_tree
from iitdask.view.explorer import explorer_html
from tests.view.browser import opened

SCREENS = [
    (390, "light"),
    (390, "dark"),
    (1280, "light"),
    (1280, "dark"),
    (1920, "light"),
    (1920, "dark"),
]
FAST = (1280, "light")
"""The screen of the fast suite; the others are slow."""
STATE = """(name) => {
  const doc = Bokeh.documents[0], source = doc.get_model_by_name(name)
  const data = Object.fromEntries(Object.entries(source.data).map(([k, v]) => [k, Array.from(v)]))
  return {chosen: Array.from(source.selected.indices), ...data}
}"""
PLACE = """([name, x, y]) => {
  const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
  view.el.scrollIntoView({block: "center"})
  const frame = view.canvas_view.el.getBoundingClientRect()
  const {x_scale, y_scale} = view.frame
  return [frame.left + x_scale.compute(x), frame.top + y_scale.compute(y)]
}"""
FIGURES = """() => [...Bokeh.documents[0]._all_models.values()].filter((m) => m.type === "Figure")
  .map((m) => Bokeh.index.find_one(m)?.el).filter((el) => el)
  .map((el) => [el.getAttribute("role"), el.getAttribute("aria-label")])"""
FRAME = """(name) => {
  const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
  return [view.frame.bbox.width, view.frame.bbox.height]
}"""
CLIPPED = """() => [...Bokeh.documents[0]._all_models.values()].filter((m) => m.type === "Figure")
  .map((m) => [m.title, Bokeh.index.find_one(m)]).filter(([title, view]) => title?.text && view)
  .filter(([title, view]) => {
    const pen = document.createElement("canvas").getContext("2d")
    pen.font = `${title.text_font_style} ${title.text_font_size} ${title.text_font}`
    return view.frame.bbox.left + pen.measureText(title.text).width > view.canvas_view.bbox.width
  }).map(([title]) => title.text)"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
screens = pytest.mark.parametrize(
    "screen",
    [pytest.param(each, marks=[] if each == FAST else [pytest.mark.slow]) for each in SCREENS],
    ids=lambda each: f"{each[0]}-{each[1]}",
)


@contextmanager
def on_screen(browser, path, name, screen):
    """A page that fits its screen, whose figures have names and with which axe finds no fault."""
    width, scheme = screen
    size = {"width": width, "height": 900}
    with opened(browser, path.as_uri(), f"{name}-{width}-{scheme}", size, scheme) as page:
        page.wait_for_timeout(200)  # figures are fitted in the next frame
        assert page.evaluate(OVERFLOW) <= 0
        assert page.evaluate("() => document.documentElement.dataset.theme") == scheme
        assert page.evaluate(CLIPPED) == []
        figures = page.evaluate(FIGURES)
        assert [each for each in figures if each[0] != "figure" or len(each[1]) < 5] == []
        yield page
        assert faults(page) == []
        assert page.evaluate(OVERFLOW) <= 0


def faults(page):
    """Serious and critical faults that axe-core finds; none where it is not at hand."""
    where = os.environ.get("IITDASK_AXE")
    if where is None:
        return []
    page.evaluate(Path(where).read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        (each["id"], each["nodes"][0]["html"], each["nodes"][0].get("failureSummary"))
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def tap(page, figure, x, y):
    """Click a place of a figure, in the units of its axes."""
    page.mouse.click(*page.evaluate(PLACE, [figure, x, y]))


def saved(page, act):
    with page.expect_download() as download:
        act()
    return download.value.suggested_filename, Path(download.value.path()).read_text("utf-8-sig")


def part(page, name):
    """The element of a model of the page."""
    script = "(name) => Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name)).el"
    return page.evaluate_handle(script, name).as_element()


def said(page, name):
    """Text of a block."""
    return page.evaluate("(name) => Bokeh.documents[0].get_model_by_name(name).text", name)


def rows(page, name):
    """Rows of a table as they are listed."""
    return page.evaluate(
        """(name) => {
          const table = Bokeh.documents[0].get_model_by_name(name)
          return Bokeh.index.find_one(table).data.index.map((k) => k)
        }""",
        name,
    )


def search(page, table, text):
    part(page, f"{table}-search").query_selector("input").fill(text)


@screens
def test_structure(browser, explorers, screen):
    with on_screen(browser, explorers("findlay2024-pqrs"), "structure", screen) as page:
        select_distinctions(page)
        search_and_save(page)
        select_a_relation(page)


def select_distinctions(page):
    assert page.get_by_text("Please cite: ").is_visible()
    for name in ("lights-figure", "transitions-figure"):  # circles are round
        assert len(set(page.evaluate(FRAME, name))) == 1
    shown = page.evaluate(STATE, "distinctions")
    assert [shown["mechanism"][k] for k in shown["chosen"]] == ["PQRS"]
    by_phi = sorted(shown["phi"], reverse=True)
    listed = rows(page, "distinctions-table")
    assert [shown["phi"][k] for k in listed] == by_phi
    assert page.get_by_text("88 of the 200 listed involve PQRS; 4,096 in all.").is_visible()
    # a dot, an entry of the list, a row, a square of the map
    k = shown["mechanism"].index("PQ")
    tap(page, "by-order-figure", shown["spread"][k], shown["phi"][k])
    assert page.evaluate(STATE, "distinctions")["chosen"] == [k]
    page.get_by_label("Distinction", exact=True).select_option(label="RS")
    now = page.evaluate(STATE, "distinctions")
    assert [now["mechanism"][k] for k in now["chosen"]] == ["RS"]
    page.locator(".slick-cell.l0").get_by_text("PRS", exact=True).first.click()
    now = page.evaluate(STATE, "distinctions")
    assert [now["mechanism"][k] for k in now["chosen"]] == ["PRS"]
    k = shown["mechanism"].index("S")
    tap(page, "landscape-cause-figure", shown["map_cause"][k], shown["map_y"][k])
    assert page.evaluate(STATE, "distinctions")["chosen"] == [k]


def search_and_save(page):
    search(page, "distinctions-table", "pqr")
    shown = page.evaluate(STATE, "distinctions")
    found = {shown["mechanism"][k] for k in rows(page, "distinctions-table")}
    expected = {
        shown["mechanism"][k]
        for k in range(len(shown["phi"]))
        if any("PQR" in shown[name][k] for name in ("mechanism", "cause", "effect"))
    }
    assert found == expected
    assert said(page, "distinctions-table-count") == f"{len(found)} of the 13 listed"
    head = page.locator(".slick-header-column").get_by_text("mechanism").first
    head.click()
    name, text = saved(
        page, lambda: part(page, "distinctions-table-csv").query_selector("button").click()
    )
    lines = list(csv.DictReader(text.splitlines()))
    assert name == "distinctions-table.csv"
    assert [line["mechanism"] for line in lines] == sorted(found)
    phi = dict(zip(shown["mechanism"], shown["phi"], strict=True))
    assert {line["mechanism"]: float(line["φ_d (bits)"]) for line in lines} == {
        name: phi[name] for name in found
    }
    search(page, "distinctions-table", "no such")
    assert rows(page, "distinctions-table") == []
    search(page, "distinctions-table", "")
    search(page, "relations-table", "PRS")
    relations = page.evaluate(STATE, "relations")
    listed = rows(page, "relations-table")
    assert listed
    assert all("PRS" in relations["mechanisms"][k] for k in listed)
    assert said(page, "relations-table-count") == f"{len(listed)} of the 200 listed; 8,184 in all"
    search(page, "relations-table", "")
    name, text = saved(page, lambda: press_svg(page, "lights-figure"))
    assert name == "lights-figure.svg"
    assert text.startswith("<svg")
    assert all(f">{label}</text>" in text for label in "PQRS")


def press_svg(page, name):
    """Press the button of a figure's toolbar that saves it as SVG."""
    part(page, name).query_selector("[title='Save as SVG']").click()


def select_a_relation(page):
    page.locator(".slick-cell.l3").get_by_text("PQ PQS", exact=True).first.click()
    lights = page.evaluate(STATE, "lights")
    assert lights["overlap"] == [1, 0, 1, 1]
    assert page.get_by_text("Drawn is relation 1 of 8,184.").is_visible()
    # the theme changes and comes back
    before = page.evaluate("() => document.documentElement.dataset.theme")
    page.locator("#theme").click()
    assert page.evaluate("() => document.documentElement.dataset.theme") != before
    page.locator("#theme").click()


@screens
def test_concepts(browser, explorers, screen):
    with on_screen(browser, explorers("iit3-2014-fig1"), "concepts", screen) as page:
        page.locator(".slick-cell.l0").get_by_text("BC", exact=True).first.click()
        now = page.evaluate(STATE, "distinctions")
        assert [now["mechanism"][k] for k in now["chosen"]] == ["BC"]


@screens
def test_complexes(browser, explorers, screen):
    with on_screen(browser, explorers("findlay2024-computer-pqrs"), "complexes", screen) as page:
        shown = page.evaluate(STATE, "complexes")
        places = list(zip(shown["spread"], shown["phi"], strict=True))
        assert len(set(places)) == len(places) == 22  # none hides another
        tap(page, "by-size-figure", *places[3])
        assert page.evaluate(STATE, "complexes")["chosen"] == [3]
        lit = page.evaluate(STATE, "lights")["mechanism"]
        assert sum(lit) == shown["size"][3]
        tap_between_dots(page, places)
        search(page, "complexes-table", "T0/15")
        assert rows(page, "complexes-table") == [0]


def tap_between_dots(page, places):
    """Tap off the middle of a dot that others overlap: the nearest alone is selected."""
    spots = np.array([page.evaluate(PLACE, ["by-size-figure", *each]) for each in places])
    apart = np.hypot(*(spots[:, None] - spots[None]).T)
    near, far = np.argsort(apart[0])[1], 0  # side by side, much closer than they are wide
    for k, other in ((near, far), (far, near), (far, near)):
        tap_once(page, *(0.7 * spots[k] + 0.3 * spots[other]))
        assert page.evaluate(STATE, "complexes")["chosen"] == [k]
    page.keyboard.down("Shift")
    tap_once(page, *spots[-1])
    page.keyboard.up("Shift")
    chosen = page.evaluate(STATE, "complexes")["chosen"]
    assert {far, len(places) - 1} <= {*chosen}


def tap_once(page, x, y):
    page.wait_for_timeout(350)  # two taps within less are a double one
    page.mouse.click(x, y)


@screens
def test_account(browser, explorers, screen):
    with on_screen(browser, explorers("causation2019-majority3"), "account", screen) as page:
        links = page.evaluate(STATE, "links")
        k = links["link"].index("B=1 → M=1")
        tap(page, "account-figure", links["x"][k], links["y"][k])
        assert page.evaluate(STATE, "links")["chosen"] == [k]  # not what passes below it
        page.locator(".slick-cell.l1").get_by_text("A=1 → M=1", exact=True).first.click()
        assert page.evaluate(STATE, "links")["chosen"] == [links["link"].index("A=1 → M=1")]
        _, text = saved(
            page, lambda: part(page, "links-table-csv").query_selector("button").click()
        )
        assert [float(line["α (bits)"]) for line in csv.DictReader(text.splitlines())] == links[
            "alpha"
        ]


@pytest.fixture(scope="session")
def four_axes(tmp_path_factory):
    """The explorer of a sweep over four axes, and its cube."""
    axes = {
        "state": "all",
        "noise": [0.0, 0.1, 0.2],
        "units": ["ABC", "AB"],
        "theory": ["iit4", "iit4-2026"],
    }
    cube = iit.sweep(axes, "basic")
    path = tmp_path_factory.mktemp("four") / "four.html"
    path.write_text(explorer_html(as_tree(cube)), encoding="utf-8")
    return path, cube


@screens
def test_sweep(browser, four_axes, screen):
    path, cube = four_axes
    with on_screen(browser, path, "sweep", screen) as page:
        free = lambda name: page.get_by_label(name, exact=True)  # noqa: E731
        assert [free(name).is_visible() for name in ("state", "noise", "units", "theory")] == [
            False, False, True, True,
        ]  # fmt: skip
        assert page.evaluate(STATE, "lines")["alpha"].count(0.85) == int(
            (cube.sel(units="ABC", theory="iit4").status == "done").sum()
        )
        in_python = iit.plot.parallel(cube).select_one({"name": "lines"}).data
        on_page = page.evaluate(STATE, "lines")
        for key in ("said", "point", "xs"):
            assert on_page[key] == [*map(type(on_page[key][0]), in_python[key])]
        np.testing.assert_allclose(on_page["ys"], in_python["ys"])
        # an axis cannot be drawn twice: the other one gives way
        free("Down").select_option(label="state")
        assert free("Across").input_value() != "state"
        free("Across").select_option(label="noise")
        free("units").select_option(label="all")
        assert free("Of all").is_visible()
        # a line leads to its point
        lines = page.evaluate(STATE, "lines")
        k = len(lines["value"]) - 1
        page.evaluate(
            "(k) => { Bokeh.documents[0].get_model_by_name('lines').selected.indices = [k] }", k
        )
        text = said(page, "cell")
        for word in lines["said"][k].split(", "):
            assert word in text
        value = float(cube.phi.max())
        assert f"phi: {value:.6g}" in text
        assert lines["value"][k] == pytest.approx(value)
        # a cell by the pointer
        heat = page.evaluate(STATE, "heat")
        tap(page, "heat-figure", 1, 2)
        at = page.evaluate(STATE, "heat")["chosen"]
        assert [(heat["x"][k], heat["y"][k]) for k in at] == [(1, 2)]
        name, text = saved(
            page, lambda: part(page, "cells-table-csv").query_selector("button").click()
        )
        assert name == "cells-table.csv"
        assert len(text.splitlines()) == 1 + np.isfinite(heat["value"]).sum()


@screens
def test_overview(browser, tmp_path, screen):
    path = tmp_path / "events.html"
    events = iit.true_events(iit.examples.load("xor"), "000", "000", "000")
    path.write_text(explorer_html(as_tree(events)), encoding="utf-8")
    with on_screen(browser, path, "overview", screen) as page:
        search(page, "events-table", "AB=00")
        assert len(rows(page, "events-table")) == 1


def test_axe__is_at_hand_in_ci():
    if "IITDASK_AXE" not in os.environ:
        pytest.skip("IITDASK_AXE does not name axe.min.js of axe-core: npm pack axe-core has it")
    assert "axe" in Path(os.environ["IITDASK_AXE"]).read_text(encoding="utf-8")[:2000]
