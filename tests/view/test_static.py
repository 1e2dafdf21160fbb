"""Figures for papers: every figure as PNG, SVG and PDF, with its caption."""

import re
from html import unescape

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.image import AxesImage
from PIL import Image

import iitdask as iit
from iitdask.errors import InputError
from iitdask.run.storage import open_store
from iitdask.study.problem import load_for_view
from iitdask.view import plot, static_figures

STRUCTURE = (
    *("network", "by_order", "plane", "relations", "relations_by_degree", "relations_by_phi"),
    "landscape",
)


@pytest.fixture(scope="module")
def results(stores):
    tree = load_for_view(open_store(stores("rule110")))
    xor = iit.examples.load("xor")
    return {
        **dict.fromkeys(STRUCTURE, tree),
        "complexes": iit.complexes(xor, "000"),
        "account": iit.account(xor, "000", "000"),
        "sweep": iit.sweep({"state": "all", "noise": [0.0, 0.1]}, "basic"),
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
    found = sorted(tuple(each.get_offsets()[0]) for each in dots)
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
