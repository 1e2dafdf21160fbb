"""Complexes of a network: its units coloured by the complex they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    CustomJS,
    DataTable,
    HoverTool,
    HTMLTemplateFormatter,
    NumberFormatter,
    StringFormatter,
    TableColumn,
    UIElement,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from iitdask.result.overview import summary_of
from iitdask.view.accessor import summary_html
from iitdask.view.network_figures import NetworkDrawing, draw_network
from iitdask.view.pages import EFFECT, GROUPS, INK, empty_figure, html_block, section_heading

__all__ = [
    "by_size",
    "complexes_panels",
    "complexes_source",
    "phi_name",
]

Array = NDArray[Any]
NO_COMPLEX_COLOUR = "#F4F4F4"


def complexes_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show which complexes a network has."""
    data = tree["complexes"].to_dataset()
    source = complexes_source(data)
    parts: list[UIElement] = []
    about = html_block(summary_html(summary_of(tree)), 560)
    if "network" in tree.children:
        fig, lights, order = coloured_network(tree["network"].to_dataset(), data)
        parts.append(row(fig, column(about, html_block(COLOUR_KEY, 560))))
        _link_selection(source, lights, data, order)
    else:
        parts.append(about)
    name = phi_name(data)
    note = "Select a complex to ring its units in the network."
    parts += [
        section_heading("Complexes", note),
        row(_complexes_table(source, name), by_size(source, name=name)),
    ]
    return parts


COLOUR_KEY = """<p class="key">Units of one complex share a colour; what belongs to none is pale.
Colours repeat after eight: a selected complex is ringed in black.</p>"""


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
    number = NumberFormatter(format="0.000000", text_align="right", nan_format="-")
    swatch = HTMLTemplateFormatter(
        template='<div style="background: <%= value %>; width: 24px; height: 14px"></div>'
    )
    columns = [
        TableColumn(field="rank", title="#", width=36),
        TableColumn(field="colour", title="", formatter=swatch, width=36, sortable=False),
        TableColumn(field="name", title="complex", formatter=StringFormatter(), width=380),
        TableColumn(field="size", title="units", width=48),
        TableColumn(field="phi", title=name, formatter=number, width=90),
        TableColumn(field="big_phi", title="Φ (bits)", formatter=number, width=110),
    ]
    if np.isnan(source.data["big_phi"]).all():  # no tie of phi_s had to be decided by it
        columns.pop()
    return DataTable(
        source=source, columns=columns, width=720, height=330, index_position=None,
        autosize_mode="none", reorderable=False, name="complexes-table",
    )  # fmt: skip


def by_size(
    source: ColumnDataSource, size: tuple[int, int] = (480, 330), name: str = "φ_s (bits)"
) -> figure:
    """Draw phi_s against the number of units."""
    fig = empty_figure("Complexes by size", "units", name, width=size[0], height=size[1])
    fig.y_range.start = 0
    fig.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    dots = fig.scatter(
        "size", "phi", source=source, size=11, fill_color="colour", line_color=INK,
        nonselection_fill_alpha=0.4, selection_line_width=3, selection_line_color=EFFECT,
    )  # fmt: skip
    tips = [("complex", "@name"), (name, "@phi{0.000000}")]
    fig.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    return fig
