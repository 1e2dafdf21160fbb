"""Figures for papers: every figure as PNG, SVG and PDF, with its caption."""

import re
from html import unescape

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch
from PIL import Image

import iitdask as iit
from iitdask.errors import InputError
from iitdask.view import plot, static_figures
from iitdask.view.lattice_figures import PAIR_COLOURS

STRUCTURE = (
    *("network", "by_order", "plane", "relations", "relations_by_degree", "relations_by_phi"),
    "landscape",
    "folds",
    "lattice",
    "pairs",
    "transitions",
    "transition_table",
)


@pytest.fixture(scope="module")
def results(stores):
    tree = iit.open(stores("rule110"), figures=True)
    xor = iit.examples.load("xor")
    macro = iit.examples.load("macro")
    cube = iit.sweep({"state": "all", "noise": [0.0, 0.1]}, "basic")
    return {
        **dict.fromkeys(STRUCTURE, tree),
        "grains": iit.grains(macro, iit.examples.state("macro")),
        "parallel": cube,
        "complexes": iit.complexes(xor, "000"),
        "account": iit.account(xor, "000", "000"),
        "sweep": cube,
    }


def test_captions__are_of_every_figure(results):
    assert set(plot.CAPTIONS) == set(plot.__all__) - {"explorer", "static"}
    assert set(results) == set(plot.CAPTIONS)


@pytest.mark.parametrize("name", sorted(plot.CAPTIONS))
def test_static__draws_every_figure_into_every_kind_of_file(results, name, tmp_path):
    title = getattr(iit.plot, name)(results[name]).title.text
    figure = iit.plot.static(results[name], name, tmp_path / "one.svg")
    svg = unescape((tmp_path / "one.svg").read_text(encoding="utf-8"))
    assert title in svg
    said = re.search(r"<dc:description>(.*?)</dc:description>", svg, re.DOTALL)
    caption = " ".join(said[1].split())
    assert caption.startswith(plot.CAPTIONS[name])
    assert "Source: " in caption
    assert figure._repr_html_().lstrip().startswith("<?xml")
    for kind, begin in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        iit.plot.static(results[name], name, tmp_path / f"one.{kind}")
        assert (tmp_path / f"one.{kind}").read_bytes().startswith(begin)
    with Image.open(tmp_path / "one.png") as image:
        assert image.text["Description"] == caption
        assert len(image.convert("RGB").getcolors(10**6)) > 10


def test_static__has_a_dot_for_every_distinction(results):
    tree = results["plane"]
    figure = iit.plot.static(tree, "plane", caption=False)
    dots = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    found = sorted(tuple(place) for each in dots for place in each.get_offsets())
    data = tree["distinctions"]
    expected = sorted(zip(data.phi_cause.values, data.phi_effect.values, strict=True))
    np.testing.assert_allclose(found, expected)


def test_static__colours_a_map_as_the_page_does(results):
    cube = results["sweep"]
    figure = iit.plot.static(cube, "sweep", x="state", y="noise")
    phi = cube.phi.transpose("noise", "state").values.ravel()
    boxes = figure.axes[0].patches
    assert len(boxes) == phi.size
    best = int(np.nanargmax(phi))
    from bokeh.palettes import Cividis256

    assert boxes[best].get_facecolor() == to_rgba(Cividis256[-1])
    assert boxes[int(np.flatnonzero(phi == 0)[0])].get_facecolor() == to_rgba(Cividis256[0])


def test_static__draws_the_map_of_a_landscape(results):
    figure = iit.plot.static(results["landscape"], "landscape", side="effect")
    (image,) = [each for each in figure.axes[0].images if isinstance(each, AxesImage)][:1]
    count = 2 ** results["landscape"]["distinctions"].sizes["unit"] - 1
    assert image.get_array().shape == (count, count, 4)


def test_lattice__has_a_circle_for_every_set_and_a_dot_for_every_distinction(results):
    tree = results["lattice"]
    n = tree["distinctions"].sizes["unit"]
    for kind, units in (("mechanism", "mechanism_units"), ("effect", "purview_effect")):
        figure = iit.plot.static(tree, "lattice", kind=kind, caption=False)
        axes = figure.axes[0]
        found = [tuple(place) for each in axes.collections for place in each.get_offsets()]
        heights = sorted(y for _, y in found)
        sizes = [mask.bit_count() for mask in range(1, 2**n)]
        own = tree["distinctions"][units].sum("unit").values.tolist()
        assert heights == sorted(sizes + own)
        names = {text.get_text() for text in axes.texts}
        assert {"A", "B", "C", "AB", "AC", "BC", "ABC"} == names
        assert len(axes.lines) == n * 2 ** (n - 1) - n  # edges of a cube without its lowest corner


def test_folds__have_bars_as_high_as_folds(results):
    tree = results["folds"]
    axes = iit.plot.static(tree, "folds").axes[0]
    folds = np.sort(tree["distinctions"].fold.values)[::-1]
    bars = sorted(axes.patches[: len(folds)], key=lambda bar: bar.get_x())
    np.testing.assert_allclose([bar.get_y() + bar.get_height() for bar in bars], folds)
    best = tree["distinctions"].fold.idxmax().item()
    assert axes.get_xticklabels()[0].get_text() == best


def test_pairs__are_coloured_by_how_purviews_lie(results):
    tree = results["pairs"]
    figure = iit.plot.static(tree, "pairs", side="effect", caption=False)
    axes = figure.axes[0]
    (image,) = [each for each in axes.images if isinstance(each, AxesImage)]
    inside = tree["distinctions"].purview_effect.values.astype(bool)
    for i, row in enumerate(inside):
        for j, column in enumerate(inside):
            kind = "disjoint"
            if (row == column).all():
                kind = "same"
            elif (row | column == row).all():
                kind = "includes"
            elif (row | column == column).all():
                kind = "included"
            elif (row & column).any():
                kind = "connected"
            expected = (0, 0, 0, 0) if kind == "disjoint" else to_rgba(PAIR_COLOURS[kind])
            assert tuple(image.get_array()[i, j]) == expected
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert "row includes column" in legend


def test_parallel__has_a_line_for_every_point_with_a_number(results):
    cube = results["parallel"]
    axes = iit.plot.static(cube, "parallel").axes[0]
    drawn = sorted(tuple(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 3)
    top = float(cube.phi.max())
    expected = sorted(
        (s / (cube.sizes["state"] - 1), float(n), float(phi) / top)
        for s, row in enumerate(cube.phi.transpose("state", "noise").values)
        for n, phi in enumerate(row)
        if np.isfinite(phi)
    )
    np.testing.assert_allclose(drawn, expected, atol=1e-12)
    held = iit.plot.parallel(cube, noise=0.1)
    assert held.title.text == f"Every point with a number: {int(cube.phi.sel(noise=0.1).count())}"


def test_transitions__have_an_arrow_for_every_possible_transition(results):
    table = results["transitions"]["transitions"].next_probability.values[:, 1::2]  # P(on)
    moves = sum(
        int("".join(str(int(p)) for p in row[::-1]), 2) != k for k, row in enumerate(table)
    )  # rule 110 is deterministic
    drawn = iit.plot.static(results["transitions"], "transitions").axes[0]
    assert sum(isinstance(each, PathPatch) for each in drawn.patches) == moves


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tree: iit.plot.lattice(tree, "effects"), "kind to be one of mechanism, cause, eff"),
        (lambda tree: iit.plot.pairs(tree, "both"), "side to be cause or effect, got 'both'"),
        (
            lambda _tree: iit.plot.folds(iit.ces(iit.examples.load("xor"), "000", theory="iit3")),
            "plot.folds: expected a structure of IIT 4.0",
        ),
        (
            lambda _tree: iit.plot.transitions(iit.sia(iit.examples.load("xor"), "000")),
            "a node 'transitions', got nodes system",
        ),
        (lambda tree: iit.plot.landscape(tree, "up"), "side to be cause or effect, got 'up'"),
    ],
)
def test_figures__name_what_is_wrong(results, call, message):
    with pytest.raises(InputError, match=message):
        call(results["lattice"])


def test_static__is_as_wide_as_asked_and_takes_a_caption(results, tmp_path):
    figure = iit.plot.static(results["network"], "network", width=2.0, caption="Own words.")
    assert figure.get_figwidth() == pytest.approx(2.0)
    texts = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert texts == ["Own words."]
    iit.plot.static(results["network"], "network", tmp_path / "a.svg", caption=False)
    assert "Units, dark" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_static__gives_the_same_file_again(results, tmp_path):
    for name in ("a.svg", "b.svg"):
        iit.plot.static(results["network"], "network", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_static__is_a_figure_of_the_accessor(results):
    figure = results["plane"].iit.plot.static("plane")
    assert figure.axes[0].get_title(loc="left") == "Cause-effect plane"


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("pie", None, "plot.static: expected one of network, .* got 'pie'"),
        ("explorer", None, "expected one of network"),
        ("network", "a.gif", "expected a file ending in .png, .svg, .pdf, got a.gif"),
    ],
)
def test_wrong_requests__are_named(results, name, path, message):
    with pytest.raises(InputError, match=message):
        iit.plot.static(results["network"], name, path)


def test_glyphs__of_all_figures_are_known(results):
    for name in plot.CAPTIONS:
        drawn = getattr(iit.plot, name)(results[name])
        kinds = {type(each.glyph).__name__ for each in drawn.renderers}
        assert kinds <= set(static_figures.DRAWERS)
