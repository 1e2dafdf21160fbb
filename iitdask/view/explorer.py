"""The explorer: one page per result, its panels chosen by the nodes of the tree."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import xarray as xr
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJS, Select, UIElement
from bokeh.resources import INLINE

from iitdask.result.cube import is_cube
from iitdask.result.overview import overviews, summary_of, title_of
from iitdask.theory.catalog import computation_of
from iitdask.theory.iit4.repertoires import LANDSCAPE_MAX_UNITS
from iitdask.view import relation_figures as links
from iitdask.view import structure_figures
from iitdask.view import structure_figures as shapes
from iitdask.view.accessor import summary_html, table_html, without_tex
from iitdask.view.account_figures import account_panels
from iitdask.view.network_figures import NetworkDrawing, draw_network
from iitdask.view.pages import (
    CAUSE,
    EFFECT,
    PAGE_TEMPLATE,
    PAGE_WIDTH_PIXELS,
    RELATION,
    html_block,
    section_heading,
)
from iitdask.view.structure_figures import add_map_positions, landscape
from iitdask.view.sweep_figures import cube_panels

__all__ = [
    "explorer_document",
    "explorer_html",
    "fill_explorer",
    "nexus_panels",
    "overview_panels",
    "structure_panels",
    "system_panels",
]

STRUCTURE_KEY = f"""
<p class="key">In the graph: <b>black ring</b> mechanism;
<b style="color: {CAUSE}">left half ring</b> cause purview and its state;
<b style="color: {EFFECT}">right half ring</b> effect purview and its state;
<b style="color: {RELATION}">outer ring</b> overlap of the selected relation.
Dark units are on; dashed connections are severed by the minimum partition.</p>
"""
CONCEPT_KEY = f"""
<p class="key">In the graph: <b>black ring</b> mechanism;
<b style="color: {CAUSE}">left half ring</b> cause purview;
<b style="color: {EFFECT}">right half ring</b> effect purview.
Dark units are on; dashed connections are severed by the minimum partition.
φ and Φ of IIT 3.0 are distances and have no unit.</p>
"""


def explorer_html(tree: xr.DataTree) -> str:
    """Write the explorer of a result as one HTML file that needs nothing else.

    Parameters
    ----------
    tree : DataTree
        A result, or an exhibit, which has more to show.
    """
    doc = explorer_document(tree)
    return str(file_html(doc, INLINE, doc.title, template=PAGE_TEMPLATE))


def explorer_document(tree: xr.DataTree) -> Document:
    """Make the explorer of a result as a Bokeh document."""
    doc = Document()
    fill_explorer(doc, tree)
    return doc


def fill_explorer(doc: Document, tree: xr.DataTree) -> None:
    """Put the explorer of a result into a document."""
    tree = without_tex(tree)
    doc.title = title_of(tree)
    doc.template = PAGE_TEMPLATE
    doc.template_variables["title"] = doc.title
    parts: list[UIElement] = []
    if is_cube(tree):
        parts += cube_panels(doc, tree.to_dataset())
    elif (computation := computation_of(tree)) is not None:
        parts += computation.load("panels")(doc, tree)
    else:
        parts += overview_panels(doc, tree)
    doc.add_root(column(*parts, name="explorer"))


def _system_network(tree: xr.DataTree) -> NetworkDrawing:
    extra = tree["network"].to_dataset() if "network" in tree.children else None
    return NetworkDrawing.from_system(tree["system"].to_dataset(), extra)


def overview_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show a result without figures: its summary and tables."""
    overview = overviews(tree)[0]
    tables = [html_block(table_html(each.columns, each.rows)) for each in overview.tables]
    return [html_block(summary_html(overview.summary)), *tables]


def nexus_panels(doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show the account of a causal nexus, and the candidates for it."""
    candidates = overview_panels(doc, tree)
    if "links" not in tree.children:
        return candidates
    return [*account_panels(doc, tree), *candidates[1:]]


def system_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show a system analysis."""
    fig, _ = draw_network(_system_network(tree), "System: state and minimum partition", 420)
    return [row(fig, html_block(summary_html(summary_of(tree)), 700))]


def structure_panels(doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Show a cause-effect structure: every panel for which the result has a node."""
    data = tree["distinctions"].to_dataset()
    is_specified = "state_cause" in data  # concepts of IIT 3.0 specify repertoires, not states
    source = structure_figures.distinctions_source(data)
    fig, lights = draw_network(_system_network(tree), "System: state, cut, selected distinction")
    note = html_block("", 800, name="selection")
    key = STRUCTURE_KEY if is_specified else CONCEPT_KEY
    choices = [(str(k), name) for k, name in enumerate(source.data["mechanism"])]
    picker = Select(title="Distinction", options=choices, width=260, name="picker")
    args: dict[str, Any] = {
        "distinctions": source,
        "lights": lights,
        "members": structure_figures.memberships(data),
        "note": note,
        "picker": picker,
        "rep": None, "bars": {}, "figures": {}, "relations": None, "shown": None, "points": None,
        "drawn": links.DRAWN,
    }  # fmt: skip
    parts: list[UIElement] = [
        row(
            fig,
            column(
                html_block(summary_html(summary_of(tree)), 800), picker, note, html_block(key, 800)
            ),
        ),
        section_heading("Distinctions", "Select a row, a dot, or an entry of the list above."),
        *_distinction_panels(source, " (bits)" if is_specified else ""),
    ]
    if "network" in tree.children and ("repertoires" in tree.children or not is_specified):
        parts += _repertoire_panels(tree, args)
    if "relations" in tree.children and int(data.sizes["mechanism"]):
        parts += _relation_panels(tree, data, args)
    if "landscape" in tree.children:
        parts += _landscape_panels(tree, data, source)
    elif "repertoires" in tree.children:
        about = f"Not drawn: this map is for systems of at most {LANDSCAPE_MAX_UNITS} units."
        parts.append(section_heading("Mechanism × purview", about))
    _link_panels(doc, args)
    return parts


def _distinction_panels(source: ColumnDataSource, unit: str) -> list[UIElement]:
    table = structure_figures.distinctions_table(source, unit)
    if table.width > PAGE_WIDTH_PIXELS - 2 * 295:
        size = (PAGE_WIDTH_PIXELS // 2 - 10, 330)
        return [
            table,
            row(
                structure_figures.by_order(source, size, unit),
                structure_figures.plane(source, size, unit),
            ),
        ]
    return [
        row(
            table,
            structure_figures.by_order(source, unit=unit),
            structure_figures.plane(source, unit=unit),
        )
    ]


def _repertoire_panels(tree: xr.DataTree, args: dict[str, Any]) -> list[UIElement]:
    network = tree["network"].to_dataset()
    levels = network["levels"].values[network["inside"].values].tolist()
    if "repertoires" in tree.children:
        args["rep"] = shapes.repertoire_arrays(tree["repertoires"].to_dataset(), levels)
    else:
        args["rep"] = shapes.concept_repertoire_arrays(tree["distinctions"].to_dataset(), levels)
    figures = []
    kinds = (
        shapes.REPERTOIRE_KINDS if "repertoires" in tree.children else shapes.REPERTOIRE_KINDS[:2]
    )
    for side in ("cause", "effect"):
        fig, source = shapes.repertoire_bars(side, kinds=kinds)
        args["bars"][side], args["figures"][side] = source, fig
        figures.append(fig)
    about = (
        "Of the selected distinction. On the cause side the partitioned distribution is "
        "renormalised; of large purviews the most probable states are shown."
    )
    return [section_heading("Repertoires", about), row(*figures)]


def _relation_panels(tree: xr.DataTree, data: xr.Dataset, args: dict[str, Any]) -> list[UIElement]:
    found = links.largest_relations(tree)
    count = links.count_text(found.count)
    about = f"{count} relations"
    if not found.listed:
        return [section_heading("Relations", "This structure has no relations.")]
    fig, source, shown, points = links.draw_relations(found, data)
    args |= {"relations": source, "shown": shown, "points": points}
    args["figures"]["relations"] = fig
    listed = len(found.listed)
    about += (
        f"; the {listed} with the largest φ_r are listed." if str(listed) != found.count else "."
    )
    about += (
        f" At most {links.DRAWN} are drawn: the largest, those listed of the selected distinction,"
        " or the selected one."
    )
    table = links.relations_table(source)
    plots = row(
        links.relations_by_degree(tree["relations"].to_dataset()), links.relations_by_phi(found)
    )
    return [section_heading("Relations", about), row(fig, column(plots, table))]


def _landscape_panels(
    tree: xr.DataTree, data: xr.Dataset, source: ColumnDataSource
) -> list[UIElement]:
    labels = [str(name) for name in data["unit"].values]
    add_map_positions(source, data)
    maps = [
        landscape(tree["landscape"].to_dataset(), labels, side, source)
        for side in ("cause", "effect")
    ]
    about = (
        "Colour is φ, white is 0, grey are purviews that are not connected with the mechanism. "
        "Squares are the distinctions; dotted pairs are those a bound excluded from the search."
    )
    return [section_heading("Mechanism × purview", about), row(*maps)]


def _link_panels(doc: Document, args: dict[str, Any]) -> None:
    code = files("iitdask.view").joinpath("select.js").read_text(encoding="utf-8")
    follow = CustomJS(args=args, code=code)
    source, picker, relations = args["distinctions"], args["picker"], args["relations"]
    source.selected.js_on_change("indices", follow)
    picker.js_on_change(
        "value",
        CustomJS(
            args={"distinctions": source},
            code="""
            const d = Number(cb_obj.value), now = distinctions.selected.indices
            if (now[now.length - 1] !== d) distinctions.selected.indices = [d]
            """,
        ),
    )
    if relations is not None:
        relations.selected.js_on_change(
            "indices",
            CustomJS(
                args={"distinctions": source, "relations": relations},
                code="""
                const picked = relations.selected.indices
                if (picked.length) {
                  const members = relations.data.members[picked[0]]
                  distinctions.selected.indices = [...members]
                } else distinctions.selected.indices = [...distinctions.selected.indices]
                """,
            ),
        )
    best = int(source.data["phi"].argmax()) if len(source.data["phi"]) else -1
    first = CustomJS(
        args={"distinctions": source, "best": best},
        code="if (best >= 0 && !distinctions.selected.indices.length) "
        "distinctions.selected.indices = [best]",
    )
    doc.js_on_event(DocumentReady, first)
