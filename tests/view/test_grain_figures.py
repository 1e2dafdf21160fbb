"""The explorer of a search across grains: arcs around the network follow the selected row."""

import numpy as np
import pytest

import iitdask as iit
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from iitdask.view.explorer import explorer_html
from tests.view.browser import opened

READ = """() => {
  const doc = Bokeh.documents[0], arcs = doc.get_model_by_name("arcs").data
  return {
    names: Array.from(arcs.name), values: Array.from(arcs.value), inner: Array.from(arcs.inner),
    shares: Array.from(doc.get_model_by_name("shares").data.colour),
    texts: Array.from(doc.get_model_by_name("arc-texts").data.text),
    note: doc.get_model_by_name("selection").text,
    chosen: ["complex-rows", "system-rows", "candidate-rows"].map(
      (name) => Array.from(doc.get_model_by_name(name).selected.indices)),
  }
}"""
SELECT = """([name, k]) => {
  Bokeh.documents[0].get_model_by_name(name).selected.indices = [k]
}"""


PAIRS = np.array([[row >> k & 1 for k in range(4)] for row in range(16)])
# Marshall et al. 2024, example 1: two pairs of units, each on if both of the other pair were
COARSE = iit.Substrate.from_tpm(
    0.05 + 0.01 * PAIRS + 0.1 * PAIRS[:, [1, 0, 3, 2]]
    + 0.8 * (PAIRS[:, [2, 3, 0, 1]] & PAIRS[:, [3, 2, 1, 0]])
)  # fmt: skip


def explored(folder, *arguments, **how):
    tree = iit.grains(*arguments, store=folder / "x.zarr", **how)
    page = folder / "x.html"
    page.write_text(explorer_html(load_for_view(open_store(folder / "x.zarr"))), "utf-8")
    return tree, page.as_uri()


def rows(tree, node, name):
    return tree[node].to_dataset()[name].values.tolist()


def test_explorer__draws_the_units_of_the_selected_row(browser, tmp_path):
    tree, address = explored(tmp_path, COARSE, "0000", depth=2)
    systems = rows(tree, "systems", "units")
    nested = systems.index("(AB:0001)+(CD:0001):0001")
    with opened(browser, address, "grains-macro") as page:
        first = page.evaluate(READ)
        assert first["chosen"] == [[0], [], []]
        assert first["names"] == ["AB:0001", "CD:0001"]
        assert first["texts"] == ["AB:0001 = 0", "CD:0001 = 0"]
        assert "1.00402 bits" in first["note"]
        page.evaluate(SELECT, ["system-rows", nested])
        now = page.evaluate(READ)
        assert now["chosen"] == [[], [nested], []]
        assert set(now["names"]) == {"(AB:0001)+(CD:0001):0001", "AB:0001", "CD:0001"}
        outer = now["inner"][now["names"].index("(AB:0001)+(CD:0001):0001")]
        assert all(inner < outer for inner in now["inner"] if inner != outer)
        assert now["texts"] == ["ABCD = 0"]
        candidate = rows(tree, "units", "candidate").index("AC")
        page.evaluate(SELECT, ["candidate-rows", candidate])
        now = page.evaluate(READ)
        assert now["chosen"] == [[], [], [candidate]]
        assert "NOT_INTEGRATED" in now["note"]


def test_explorer__shows_apportioned_units_and_macro_states(browser, tmp_path):
    noisy = iit.Substrate.from_tpm(np.random.default_rng(8).uniform(0.05, 0.95, (8, 3)))
    window = ["011", "110"]
    tree, address = explored(tmp_path, noisy, window, updates=2, background=1)
    systems = rows(tree, "systems", "units")
    k = next(k for k, name in enumerate(systems) if "/" in name and "|" not in name)
    with opened(browser, address, "grains-background") as page:
        page.evaluate(SELECT, ["system-rows", k])
        now = page.evaluate(READ)
        assert sum(colour != "" for colour in now["shares"]) == 1
        assert systems[k] in now["note"]
        assert now["names"] == [systems[k]] * len(now["names"])


@pytest.mark.parametrize("substrate", [COARSE, iit.Substrate.from_tpm(np.full((4, 2), 0.5))])
def test_explorer__of_a_result_without_network_or_complex(substrate):
    tree = iit.grains(substrate, "0" * substrate.n_units, constituents=2)
    page = explorer_html(tree)
    assert "Which grain wins" in page
    complexes = rows(tree, "complexes", "units")
    assert ("No system is a complex." in page) == (not complexes)
    assert all(name in page for name in complexes)


def test_explorer__without_complex_names_the_largest_system_and_what_it_lacks():
    noisy = iit.Substrate.from_tpm(np.random.default_rng(1).uniform(0.05, 0.95, (32, 5)))
    tree = iit.grains(noisy, "01011", "exhaustive", footprints=[("AB", "CDE")])
    verdicts = dict(
        zip(rows(tree, "units", "candidate"), rows(tree, "units", "verdict"), strict=True)
    )
    assert not tree["complexes"].sizes["complex"]
    page = explorer_html(tree)
    assert rows(tree, "systems", "units")[0] in page
    for name in ("AB", "CDE"):
        lacks = f"{name} is {verdicts[name]}"
        assert (lacks in page) == (verdicts[name] != "VALID")
