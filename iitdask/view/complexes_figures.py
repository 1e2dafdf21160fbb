"""Complexes of a network: its units coloured by the complex they belong to."""

from __future__ import annotations

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.models import BasicTicker, ColumnDataSource, CustomJS, DataTable, HoverTool, UIElement
from bokeh.plotting import figure

from iitdask.result.overview import summary_of
from iitdask.types import Array
from iitdask.view.accessor import summary_html
from iitdask.view.network_figures import NetworkDrawing, draw_network
from iitdask.view.pages import (
    Column,
    data_table,
    empty_figure,
    html_block,
    page_grid,
    section_heading,
)
from iitdask.view.palette import EFFECT, GROUPS, INK

NO_COMPLEX_COLOUR = "#F4F4F4"


def complexes_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show which complexes a network has."""
    data = tree["complexes"].to_dataset()
    source = complexes_source(data)
    parts: list[UIElement] = []
    about = summary_html(summary_of(tree))
    if "network" in tree.children:
        fig, lights, order = coloured_network(tree["network"].to_dataset(), data)
        parts.append(page_grid(fig, html_block(about + COLOUR_KEY, 420)))
        _link_selection(source, lights, data, order)
    else:
        parts.append(html_block(about))
    name = phi_name(data)
    note = "Select a complex to ring its units in the network."
    parts += [
        section_heading("Complexes", note),
        page_grid(_complexes_table(source, name), by_size(source, name=name)),
    ]
    return parts


COLOUR_KEY = """<p class="key">Units of one complex share a colour; what belongs to none is pale.
Colours repeat after eight: the units of a selected complex are ringed.</p>"""


def complexes_source(data: xr.Dataset) -> ColumnDataSource:
    """One row per complex, in order of acceptance."""
    count = data.sizes["complex"]
    return ColumnDataSource(
        {
            "rank": list(range(1, count + 1)),
            "name": [str(name) for name in data["complex"].values],
            "phi": np.asarray(data["phi"].values, float),
            "big_phi": np.asarray(data["big_phi"].values, float),
            "size": data["units"].values.sum(axis=1).astype(int),
            "colour": [GROUPS[k % len(GROUPS)] for k in range(count)],
        },
        name="complexes",
    )


def coloured_network(
    net: xr.Dataset, data: xr.Dataset, size: int = 520
) -> tuple[figure, ColumnDataSource, Array]:
    """Draw a network with its complexes side by side; returns the order of its units, too."""
    inside = data["units"].values.astype(bool)
    count = inside.shape[1]
    first = np.where(inside.any(axis=0), inside.argmax(axis=0), len(inside))
    order = np.lexsort((np.arange(count), first))
    colours = [
        GROUPS[k % len(GROUPS)] if k < len(inside) else NO_COMPLEX_COLOUR
        for k in first[order].tolist()
    ]
    title = "Network, coloured by complex"
    fig, lights = draw_network(NetworkDrawing.from_network(net, order, colours), title, size)
    return fig, lights, order


def _link_selection(
    source: ColumnDataSource, lights: ColumnDataSource, data: xr.Dataset, order: Array
) -> None:
    inside = data["units"].values.astype(np.int8)[:, order]
    source.selected.js_on_change(
        "indices",
        CustomJS(
            args={"lights": lights, "inside": inside.ravel(), "n": inside.shape[1]},
            code="""
            const own = lights.data.mechanism
            for (let i = 0; i < n; i++)
              own[i] = cb_obj.indices.some((k) => inside[k * n + i]) ? 1 : 0
            lights.change.emit()
            """,
        ),
    )


def phi_name(data: xr.Dataset) -> str:
    """Name what complexes are ranked by; big Phi of IIT 3.0 is a distance without a unit."""
    return "Φ" if data.attrs["theory"] == "iit3" else "φ_s (bits)"


def _complexes_table(source: ColumnDataSource, name: str) -> DataTable:
    columns = [
        Column("rank", "#", 36),
        Column("colour", "", 36, "colour"),
        Column("name", "complex", 380, "text"),
        Column("size", "units", 48),
        Column("phi", name, 90, "number"),
        Column("big_phi", "Φ (bits)", 110, "number"),
    ]
    if np.isnan(source.data["big_phi"]).all():  # no tie of phi_s had to be decided by it
        columns.pop()
    return data_table(source, columns, height=330, name="complexes-table")


def by_size(
    source: ColumnDataSource, size: tuple[int, int] = (480, 330), name: str = "φ_s (bits)"
) -> figure:
    """Draw phi_s against the number of units."""
    fig = empty_figure("Complexes by size", "units", name, size=size)
    fig.y_range.start = 0
    fig.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    dots = fig.scatter(
        "size", "phi", source=source, size=11, fill_color="colour", line_color=INK,
        nonselection_fill_alpha=0.4, selection_line_width=3, selection_line_color=EFFECT,
    )  # fmt: skip
    tips = [("complex", "@name"), (name, "@phi{0.000000}")]
    fig.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    return fig
