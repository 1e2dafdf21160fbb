"""The explorer in a browser: on real results, every selection shows everywhere."""

import warnings
from threading import Event

import numpy as np
import pytest

import iitdask as iit
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from iitdask.view.explorer import explorer_html, fill_explorer
from iitdask.view.pages import serve_page
from tests.view.browser import PATIENCE, opened

READ = """() => {
  const doc = Bokeh.documents[0]
  const lights = doc.get_model_by_name("lights").data
  const bars = doc.get_model_by_name("repertoire-cause").data
  const chosen = doc.get_model_by_name("distinctions").selected.indices
  const listed = doc.get_model_by_name("distinctions").data
  return {
    chosen: Array.from(chosen),
    names: Array.from(listed.mechanism),
    mechanism: Array.from(lights.mechanism),
    cause: Array.from(lights.cause_state),
    overlap: Array.from(lights.overlap),
    states: Array.from(bars.state),
    constrained: Array.from(bars.constrained),
    note: doc.get_model_by_name("selection").text,
  }
}"""


def click_row(page, column, text):
    """Click the cell of a column, such as ``l0``, that says this."""
    page.locator(f".slick-cell.{column}").get_by_text(text, exact=True).first.click()


def test_explorer__shows_what_is_selected_everywhere(browser, explorers):
    with opened(browser, explorers("findlay2024-pqrs").as_uri(), "explorer-pqrs") as page:
        first = page.evaluate(READ)
        assert [first["names"][k] for k in first["chosen"]] == ["PQRS"]
        assert first["mechanism"] == [1, 1, 1, 1]
        assert first["cause"] == ["1", "1", "0", "1"]
        assert len(first["states"]) == 16
        click_row(page, "l0", "PQS")
        now = page.evaluate(READ)
        assert [now["names"][k] for k in now["chosen"]] == ["PQS"]
        assert now["mechanism"] == [1, 1, 0, 1]
        assert now["cause"] == ["1", "", "", ""]
        assert now["states"] == ["0", "1"]
        assert sum(now["constrained"]) == pytest.approx(1.0)
        assert "0.794230 bits" in now["note"]


def test_explorer__selects_by_keyboard(browser, explorers):
    with opened(browser, explorers("findlay2024-pqrs").as_uri(), "explorer-keyboard") as page:
        picker = page.locator("select").first
        picker.focus()
        before = page.evaluate(READ)
        page.keyboard.press("ArrowDown")
        after = page.evaluate(READ)
        assert after["chosen"] != before["chosen"]
        assert after["note"] != before["note"]
        click_row(page, "l0", "PQ")
        page.keyboard.press("ArrowDown")
        now = page.evaluate(READ)
        assert [now["names"][k] for k in now["chosen"]] == ["PS"]  # phi of which comes next
        for _ in range(8):
            page.keyboard.press("Tab")
        inside = """() => {
          let at = document.activeElement
          while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement
          return at.closest(".bk-data-table") !== null
        }"""
        assert not page.evaluate(inside)
        assert page.evaluate(READ)["chosen"] == now["chosen"]


def test_explorer__a_relation_lights_its_overlap_and_its_distinctions(browser, explorers):
    with opened(browser, explorers("findlay2024-pqrs").as_uri(), "explorer-relation") as page:
        click_row(page, "l3", "PQ PQS")
        now = page.evaluate(READ)
        assert sorted(now["names"][k] for k in now["chosen"]) == ["PQ", "PQS"]
        assert now["overlap"] == [1, 0, 1, 1]
        assert "Relation 1 of 2 distinctions" in now["note"]


COLOURS = """() => {
  const figure = Bokeh.documents[0].get_model_by_name("lights-figure")
  return [
    getComputedStyle(document.body).backgroundColor,
    figure.background_fill_color, figure.title.text_color,
  ]
}"""
LIGHT = ["rgb(255, 255, 255)", "white", "#222222"]
DARK = ["rgb(23, 25, 28)", "#17191C", "#E6E6E6"]


def test_page__follows_the_colours_of_the_system_and_its_button(browser, explorers):
    with opened(browser, explorers("findlay2024-pqrs").as_uri(), "explorer-dark") as page:
        assert page.evaluate(COLOURS) == LIGHT
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"() => ({COLOURS})()[1] === '{DARK[1]}'")
        assert page.evaluate(COLOURS) == DARK
        page.get_by_role("button", name="Light theme").click()
        assert page.evaluate(COLOURS) == LIGHT
        page.get_by_role("button", name="Dark theme").click()
        assert page.evaluate(COLOURS) == DARK


def test_page__that_is_served_tells_the_server_nothing_of_its_colours(browser, stores):
    changed, selected = [], Event()

    def note(event):
        changed.append(event.attr)
        if event.attr == "indices" and event.new == [0]:
            selected.set()

    def fill(doc):
        fill_explorer(doc, load_for_view(open_store(stores("findlay2024-pqrs"))))
        doc.on_change(note)

    with (
        serve_page(fill) as served,
        opened(browser, served, "explorer-served-dark") as page,
    ):
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"() => ({COLOURS})()[1] === '{DARK[1]}'")
        page.evaluate('Bokeh.documents[0].get_model_by_name("distinctions").selected.indices = [0]')
        assert selected.wait(PATIENCE / 1000)  # what was sent before it has arrived, too
    assert [attr for attr in changed if "color" in attr] == []


def test_page__puts_figures_below_each_other_in_a_narrow_window(browser, explorers):
    left = """() => Array.from(document.querySelectorAll("*")).length &&
      Bokeh.documents[0].get_model_by_name("repertoire-effect-figure") &&
      ["cause", "effect"].map((side) => Bokeh.index.find_one_by_id(
        Bokeh.documents[0].get_model_by_name(`repertoire-${side}-figure`).id)
        .el.getBoundingClientRect().top)"""
    with opened(browser, explorers("findlay2024-pqrs").as_uri(), "explorer-narrow") as page:
        cause, effect = page.evaluate(left)
        assert cause == effect
        page.set_viewport_size({"width": 700, "height": 900})
        page.wait_for_function(f"() => {{ const [a, b] = ({left})(); return a < b }}")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 700


def test_explorer__of_six_units_says_what_it_leaves_out(browser, explorers):
    with opened(browser, explorers("iit4-2023-fig6d").as_uri(), "explorer-fig6d") as page:
        assert page.get_by_text("1,537,080 relations; the 200 with the largest φ_r").is_visible()
        assert page.get_by_text("0 of the 200 listed involve A; 0 in all.").is_visible()
        page.get_by_label("Distinction", exact=True).select_option(label="CD")
        assert page.get_by_text("15 of the 200 listed involve CD; ").is_visible()
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 1280


def test_explorer__of_8184_relations_is_small_and_opens(browser, explorers):
    path = explorers("findlay2024-pqrs")
    assert path.stat().st_size < 10e6
    with opened(browser, path.as_uri(), "explorer-size") as page:
        page.wait_for_selector("canvas", state="attached")
        assert page.get_by_text("8,184 relations").is_visible()


def test_explorer__of_concepts_shows_their_repertoires(browser, explorers):
    with opened(browser, explorers("iit3-2014-fig1").as_uri(), "explorer-iit3") as page:
        first = page.evaluate(READ)
        click_row(page, "l0", "BC")
        now = page.evaluate(READ)
        assert [now["names"][k] for k in now["chosen"]] == ["BC"] != first["chosen"]
        assert now["mechanism"] == [0, 1, 1]
        assert sum(now["constrained"]) == pytest.approx(1.0)
        assert "bits" not in now["note"]


def test_explorer__of_complexes_rings_the_units_of_one(browser, explorers):
    with opened(browser, explorers("iit3-2014-fig14").as_uri(), "explorer-complexes") as page:
        names = "() => Array.from(Bokeh.documents[0].get_model_by_name('complexes').data.name)"
        first = page.evaluate(names)[0]
        click_row(page, "l2", first)
        lit = "() => Array.from(Bokeh.documents[0].get_model_by_name('lights').data.mechanism)"
        assert sum(page.evaluate(lit)) == len(first)
        # The units of the first complex come first around the circle.
        assert page.evaluate(lit)[: len(first)] == [1] * len(first)


def test_explorer__of_an_account_selects_links(browser, explorers):
    with opened(browser, explorers("causation2019-majority3").as_uri(), "explorer-account") as page:
        click_row(page, "l1", "A=1 → M=1")
        chosen = page.evaluate(
            """() => {
              const links = Bokeh.documents[0].get_model_by_name("links")
              return links.selected.indices.map((k) => [links.data.link[k], links.data.alpha[k]])
            }"""
        )
        assert chosen == [["A=1 → M=1", pytest.approx(0.5849625007)]]


def test_explorer__of_a_system_alone_still_opens(browser, explorers):
    with opened(browser, explorers("rule154").as_uri(), "explorer-system") as page:
        assert page.get_by_text("φ_s", exact=True).is_visible()


CELL = """() => {
  const doc = Bokeh.documents[0], heat = doc.get_model_by_name("heat")
  return {
    chosen: Array.from(heat.selected.indices),
    values: Array.from(heat.data.value, (v) => Number.isFinite(v) ? v : null),
    rows: Array.from(doc.get_model_by_name("rows").data.value),
    columns: Array.from(doc.get_model_by_name("columns").data.value),
    said: doc.get_model_by_name("cell").text,
  }
}"""


def known(values):
    return [None if np.isnan(v) else pytest.approx(v, abs=1e-6) for v in values.ravel()]


def test_explorer__of_a_sweep_draws_over_any_axes(browser, swept):
    path, cube = swept
    phi = cube["phi"].transpose("noise", "state", "units").values
    with opened(browser, path.as_uri(), "explorer-sweep") as page:
        first = page.evaluate(CELL)
        assert first["values"] == known(phi[:, :, 0])
        assert first["chosen"] == [int(np.nanargmax(phi[:, :, 0]))]
        assert "status: done" in first["said"]
        page.get_by_label("units", exact=True).select_option(label="AB")
        assert page.evaluate(CELL)["values"] == known(phi[:, :, 1])
        page.get_by_label("Down").select_option(label="units")
        page.get_by_label("noise", exact=True).select_option(label="all")
        now = page.evaluate(CELL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mean of nothing is no number, as it should be
            mean = np.nanmean(phi, axis=0)
        assert now["values"] == known(mean.T)
        assert "mean of 3 points" in now["said"]


def test_explorer__of_a_sweep_follows_a_selection_along_both_axes(browser, swept):
    path, cube = swept
    phi = cube["phi"].transpose("noise", "state", "units").values[:, :, 0]
    with opened(browser, path.as_uri(), "explorer-sweep-cell") as page:
        select = """([name, k]) => {
          Bokeh.documents[0].get_model_by_name(name).selected.indices = [k]
        }"""
        page.evaluate(select, ["heat", 8 + 3])
        now = page.evaluate(CELL)
        assert now["rows"] == known(phi[1])
        assert now["columns"] == known(phi[:, 3])
        page.evaluate(select, ["rows", 5])
        assert page.evaluate(CELL)["chosen"] == [8 + 5]
        page.evaluate(select, ["columns", 2])
        assert page.evaluate(CELL)["chosen"] == [16 + 5]


def hub(n):
    """Weights of a unit that all mechanisms act on."""
    return [1 + 0.03 * (5 * j % 4) for j in range(n)]


def spoke(i, n):
    """Weights of a unit that listens to the hub, to itself and hardly to others."""
    weights = [0.1 * (1 + 0.05 * ((7 * i + 3 * j) % 5)) for j in range(n)]
    weights[0] = weights[i] = 0.3
    return weights


@pytest.mark.slow
def test_explorer__of_a_thousand_distinctions_opens(browser, tmp_path):
    units = [
        {
            "label": f"U{i}",
            "gate": "LOGISTIC",
            "inputs": [f"U{j}" for j in range(10)],
            "weights": hub(10) if i == 0 else spoke(i, 10),
            "slope": 0.6,
        }
        for i in range(10)
    ]
    store, path = str(tmp_path / "ten.zarr"), tmp_path / "ten.html"
    tree = iit.ces(iit.Substrate.from_units(units), "1" * 10, store=store)
    assert tree.attrs["n_distinctions"] == 1023
    found = tree["distinctions"].to_dataset()
    cause, effect = found["state_cause"].values, found["state_effect"].values
    assert ((cause[:, 0] == 1) | (effect[:, 0] == 1)).all()
    # All purviews hold the hub in one state: every set of distinctions is a relation, but for
    # distinctions alone whose cause and effect share nothing.
    apart = int((~((cause == effect) & (cause >= 0)).any(axis=1)).sum())
    assert tree["relations"].attrs["count"] == str(2**1023 - 1 - apart)
    path.write_text(explorer_html(load_for_view(open_store(store))), encoding="utf-8")
    assert path.stat().st_size < 10e6
    with opened(browser, path.as_uri(), "explorer-ten") as ten:
        # The bound of the contract is 10 s; what is asserted is that it opens at all.
        assert ten.get_by_text("2^1023.0 relations; the 200 with the largest").is_visible()
        assert not ten.get_by_text("inf bits").count()
        assert ten.get_by_text("Not drawn: this map is for systems of at most").is_visible()
        assert ten.evaluate("() => document.documentElement.scrollWidth") <= 1280
        ten.get_by_label("Distinction", exact=True).select_option(index=1022)
        assert ten.evaluate(READ)["chosen"] == [1022]
        assert sum(ten.evaluate(READ)["constrained"]) == pytest.approx(1.0, abs=1e-6)


def test_explorer__takes_no_name_for_mathematics(browser, tmp_path):
    names = [r"$$\alpha$$", r"\(B\)"]
    units = [
        {"label": name, "gate": "COPY", "inputs": [other]}
        for name, other in zip(names, reversed(names), strict=True)
    ]
    path = tmp_path / "maths.html"
    path.write_text(explorer_html(iit.ces(iit.Substrate.from_units(units), "10")), encoding="utf-8")
    with opened(browser, path.as_uri(), "explorer-maths") as one:
        assert one.get_by_text(r"$\alpha$").first.is_visible()


def test_page__writes_the_names_of_units_as_text_only():
    name = '<img src="https://nowhere.example/x">'
    substrate = iit.Substrate.from_units(
        [
            {"label": name, "gate": "COPY", "inputs": ["B"]},
            {"label": "B", "gate": "COPY", "inputs": [name]},
        ]
    )
    html = explorer_html(iit.ces(substrate, "10"))
    assert name not in html
    assert "<img" not in html.split('<script type="application/json"')[0].split("<main>")[1]
