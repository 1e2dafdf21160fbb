"""Figures of sweeps."""

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import FlexBox

import iitdask as iit
from iitdask.errors import InputError
from iitdask.view.sweep_figures import cube_panels


@pytest.fixture(scope="module")
def cube():
    return iit.sweep({"state": "all", "noise": [0.0, 0.1, 0.3]}, "basic")


def drawn(fig, kind):
    return [r.data_source.data for r in fig.renderers if type(r.glyph).__name__ == kind]


def test_map__has_a_cell_for_every_point(cube):
    (data,) = drawn(iit.plot.sweep(cube, x="state", y="noise"), "Rect")
    assert len(data["value"]) == 24
    at = dict(zip(zip(data["x"], data["y"], strict=True), data["value"], strict=True))
    assert at["100", "0.1"] == cube.phi.sel(state="100", noise=0.1)


def test_lines__one_for_each_value_of_an_axis(cube):
    lines = drawn(iit.plot.sweep(cube, x="state", by="noise"), "Line")
    assert len(lines) == 3
    np.testing.assert_array_equal(lines[1]["y"], cube.phi.sel(noise=0.1).values)


def test_axes_that_are_not_named__are_averaged_over_or_held(cube):
    (mean,) = drawn(iit.plot.sweep(cube, x="noise"), "Line")
    np.testing.assert_allclose(mean["y"], cube.phi.mean("state").values)
    (held,) = drawn(iit.plot.sweep(cube, x="noise", state="100"), "Line")
    np.testing.assert_array_equal(held["y"], cube.phi.sel(state="100").values)
    assert held["x"].tolist() == [0.0, 0.1, 0.3]


def test_explorer__of_one_axis_has_no_empty_box():
    panels = cube_panels(Document(), iit.sweep({"state": "all"}, "basic"))
    boxes = [each for panel in panels for each in panel.select({"type": FlexBox})]
    assert boxes
    assert all(box.children for box in boxes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": "colour"}, "axis: expected one of state, noise, got 'colour'"),
        ({"variable": "status"}, "variable: expected one of phi"),
        ({"x": "noise", "state": "9"}, "there is no such value"),
    ],
)
def test_wrong_requests__are_named(cube, given, message):
    with pytest.raises(InputError, match=message):
        iit.plot.sweep(cube, **given)
