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
from iitdask.theory.landscape import MOST_UNITS
from iitdask.view import relations as links
from iitdask.view import repertoires as shapes
from iitdask.view import structure
from iitdask.view.account import account_panels
from iitdask.view.complexes import complexes_panels
from iitdask.view.cube import cube_panels
from iitdask.view.facts import facts_html, more_html, rows_of, title_of
from iitdask.view.landscape import add_places, landscape
from iitdask.view.network import Net, network
from iitdask.view.sheet import TEMPLATE, WIDTH, heading, text
from iitdask.view.theme import CAUSE, EFFECT, RELATION
from iitdask.view.trees import harmless

__all__ = ["document", "fill", "page"]

KEY = f"""
<p class="key">In the graph: <b>black ring</b> mechanism;
<b style="color: {CAUSE}">left half ring</b> cause purview and its state;
<b style="color: {EFFECT}">right half ring</b> effect purview and its state;
<b style="color: {RELATION}">outer ring</b> overlap of the selected relation.
Dark units are on; dashed connections are severed by the minimum partition.</p>
"""
CONCEPTS_KEY = f"""
<p class="key">In the graph: <b>black ring</b> mechanism;
<b style="color: {CAUSE}">left half ring</b> cause purview;
<b style="color: {EFFECT}">right half ring</b> effect purview.
Dark units are on; dashed connections are severed by the minimum partition.
φ and Φ of IIT 3.0 are distances and have no unit.</p>
"""


def page(tree: xr.DataTree) -> str:
    """Write the explorer of a result as one HTML file that needs nothing else.

    Parameters
    ----------
    tree : DataTree
        A result, or an exhibit, which has more to show.
    """
    doc = document(tree)
    return str(file_html(doc, INLINE, doc.title, template=TEMPLATE))


def document(tree: xr.DataTree) -> Document:
    """Make the explorer of a result as a Bokeh document."""
    doc = Document()
    fill(doc, tree)
    return doc


def fill(doc: Document, tree: xr.DataTree) -> None:
    """Put the explorer of a result into a document."""
    tree = harmless(tree)
    doc.title = title_of(tree)
    doc.template = TEMPLATE
    doc.template_variables["title"] = doc.title
    parts: list[UIElement] = []
    if is_cube(tree):
        parts += cube_panels(doc, tree.to_dataset())
    elif "distinctions" in tree.children:
        parts += _structure_panels(doc, tree)
    elif "complexes" in tree.children:
        parts += complexes_panels(tree)
    elif "links" in tree.children:
        parts += account_panels(tree)
    elif "system" in tree.children:
        parts += _system_panels(tree)
    else:
        parts.append(text(facts_html(rows_of(tree))))
    if more := more_html(tree):
        parts.append(text(more))
    doc.add_root(column(*parts, name="explorer"))


def _net(tree: xr.DataTree) -> Net:
    extra = tree["network"].to_dataset() if "network" in tree.children else None
    return Net.of_system(tree["system"].to_dataset(), extra)


def _system_panels(tree: xr.DataTree) -> list[UIElement]:
    fig, _ = network(_net(tree), "System: state and minimum partition", 420)
    return [row(fig, text(facts_html(rows_of(tree)), 700))]


def _structure_panels(doc: Document, tree: xr.DataTree) -> list[UIElement]:
    data = tree["distinctions"].to_dataset()
    is_specified = "state_cause" in data  # concepts of IIT 3.0 specify repertoires, not states
    source = structure.distinctions_source(data)
    fig, lights = network(_net(tree), "System: state, cut, selected distinction")
    note = text("", 800, name="selection")
    key = KEY if is_specified else CONCEPTS_KEY
    choices = [(str(k), name) for k, name in enumerate(source.data["mechanism"])]
    picker = Select(title="Distinction", options=choices, width=260, name="picker")
    args: dict[str, Any] = {
        "distinctions": source,
        "lights": lights,
        "members": structure.memberships(data),
        "note": note,
        "picker": picker,
        "rep": None, "bars": {}, "figures": {}, "relations": None, "shown": None, "points": None,
        "drawn": links.DRAWN,
    }  # fmt: skip
    parts: list[UIElement] = [
        row(fig, column(text(facts_html(rows_of(tree)), 800), picker, note, text(key, 800))),
        heading("Distinctions", "Select a row, a dot, or an entry of the list above."),
        *_distinction_panels(source, " (bits)" if is_specified else ""),
    ]
    if "network" in tree.children and ("repertoires" in tree.children or not is_specified):
        parts += _repertoire_panels(tree, args)
    if "relations" in tree.children and int(data.sizes["mechanism"]):
        parts += _relation_panels(tree, data, args)
    if "landscape" in tree.children:
        parts += _landscape_panels(tree, data, source)
    elif "repertoires" in tree.children:
        about = f"Not drawn: this map is for systems of at most {MOST_UNITS} units."
        parts.append(heading("Mechanism × purview", about))
    _link(doc, args)
    return parts


def _distinction_panels(source: ColumnDataSource, unit: str) -> list[UIElement]:
    table = structure.table(source, unit)
    if table.width > WIDTH - 2 * 295:
        size = (WIDTH // 2 - 10, 330)
        return [
            table,
            row(structure.by_order(source, size, unit), structure.plane(source, size, unit)),
        ]
    return [row(table, structure.by_order(source, unit=unit), structure.plane(source, unit=unit))]


def _repertoire_panels(tree: xr.DataTree, args: dict[str, Any]) -> list[UIElement]:
    network = tree["network"].to_dataset()
    levels = network["levels"].values[network["inside"].values].tolist()
    if "repertoires" in tree.children:
        args["rep"] = shapes.rows_of(tree["repertoires"].to_dataset(), levels)
    else:
        args["rep"] = shapes.concept_rows(tree["distinctions"].to_dataset(), levels)
    figures = []
    kinds = shapes.KINDS if "repertoires" in tree.children else shapes.KINDS[:2]
    for side in ("cause", "effect"):
        fig, source = shapes.bars(side, kinds=kinds)
        args["bars"][side], args["figures"][side] = source, fig
        figures.append(fig)
    about = (
        "Of the selected distinction. On the cause side the partitioned distribution is "
        "renormalised; of large purviews the most probable states are shown."
    )
    return [heading("Repertoires", about), row(*figures)]


def _relation_panels(tree: xr.DataTree, data: xr.Dataset, args: dict[str, Any]) -> list[UIElement]:
    found = links.largest(tree)
    count = links.count_text(found.count)
    about = f"{count} relations"
    if not found.listed:
        return [heading("Relations", "This structure has no relations.")]
    fig, source, shown, points = links.drawing(found, data)
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
    table = links.table(source)
    plots = row(links.by_degree(tree["relations"].to_dataset()), links.by_phi(found))
    return [heading("Relations", about), row(fig, column(plots, table))]


def _landscape_panels(
    tree: xr.DataTree, data: xr.Dataset, source: ColumnDataSource
) -> list[UIElement]:
    labels = [str(name) for name in data["unit"].values]
    add_places(source, data)
    maps = [
        landscape(tree["landscape"].to_dataset(), labels, side, source)
        for side in ("cause", "effect")
    ]
    about = (
        "Colour is φ, white is 0, grey are purviews that are not connected with the mechanism. "
        "Squares are the distinctions; dotted pairs are those a bound excluded from the search."
    )
    return [heading("Mechanism × purview", about), row(*maps)]


def _link(doc: Document, args: dict[str, Any]) -> None:
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
