"""The explorer: one page per result, its panels chosen by the nodes of the tree."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import xarray as xr
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady
from bokeh.layouts import column
from bokeh.models import CustomJS, UIElement
from bokeh.resources import INLINE

from iitdask.result.cube import is_cube
from iitdask.result.formatting import known_labels
from iitdask.result.overview import overviews, source_of, summary_of, title_of
from iitdask.theory.catalog import computation_of
from iitdask.theory.iit4.repertoires import LANDSCAPE_MAX_UNITS
from iitdask.view import relation_figures, structure_figures
from iitdask.view.accessor import summary_html, without_tex
from iitdask.view.account_figures import account_panels
from iitdask.view.lattice_figures import lattice_panels
from iitdask.view.network_figures import NetworkDrawing, draw_network
from iitdask.view.pages import (
    SPOKEN,
    fill_page,
    html_block,
    menu,
    page_grid,
    script,
    section_heading,
    text_table,
)
from iitdask.view.sweep_figures import cube_panels
from iitdask.view.transition_figures import transition_panels

TEXT_PIXELS = 600  # Width of texts beside a figure
STRUCTURE_KEY = """
<p class="key">In the graph: <b>inner ring</b> mechanism;
<b class="cause">left half ring</b> cause purview and its state;
<b class="effect">right half ring</b> effect purview and its state;
<b class="relation">outer ring</b> overlap of the selected relation.
Dark units are on; dashed connections are severed by the minimum partition.</p>
"""
CONCEPT_KEY = """
<p class="key">In the graph: <b>inner ring</b> mechanism;
<b class="cause">left half ring</b> cause purview;
<b class="effect">right half ring</b> effect purview.
Dark units are on; dashed connections are severed by the minimum partition.
φ and Φ of IIT 3.0 are distances and have no unit.</p>
"""
LANDSCAPE_NOTE = (
    "Colour is φ, white is 0, grey are purviews that are not connected with the mechanism. "
    "Squares are the distinctions; dotted pairs are those a bound excluded from the search."
)
LARGEST_NOTE = (
    "those with the largest φ_d, or the largest folds, and those of the relations listed below. "
    "The others are in the store, which iit.open and iitdask export read. "
    "Select a row, a dot, or an entry of the list above."
)
SELECT_DISTINCTION = """
const d = Number(cb_obj.value), now = distinctions.selected.indices
if (now[now.length - 1] !== d) distinctions.selected.indices = [d]
"""
SELECT_RELATION = """
const picked = relations.selected.indices
if (picked.length) {
  const members = relations.data.members[picked[0]]
  distinctions.selected.indices = [...members]
} else distinctions.selected.indices = [...distinctions.selected.indices]
"""
SELECT_LARGEST = """
if (best >= 0 && !distinctions.selected.indices.length) distinctions.selected.indices = [best]
"""


def explorer_html(tree: xr.DataTree) -> str:
    """Return the explorer of a result as one HTML page that loads nothing else."""
    doc = Document()
    fill_explorer(doc, tree)
    options = {"template": doc.template, "template_variables": dict(doc.template_variables)}
    return str(file_html(doc, INLINE, doc.title, **options))


def fill_explorer(doc: Document, tree: xr.DataTree) -> None:
    """Put the explorer of a result into an empty document."""
    tree = without_tex(tree)
    computation = computation_of(tree)
    if is_cube(tree):
        parts = cube_panels(doc, tree.to_dataset())
    elif "mechanisms" in tree.children:
        parts = partial_panels(tree)
    elif computation is not None:
        parts = computation.load("panels")(doc, tree)
    else:
        parts = overview_panels(doc, tree)
    fill_page(doc, title_of(tree), *parts, name="explorer", source=source_of(tree))


def overview_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Return the elements of a result without figures: its summary and tables."""
    overview = overviews(tree)[0]
    parts: list[UIElement] = [html_block(summary_html(overview.summary))]
    for each in overview.tables:
        heading = each.name[:1].upper() + each.name[1:]
        if each.rows:
            parts += [section_heading(escape(heading)), text_table(each)]
        else:
            parts.append(section_heading(escape(heading), f"No {escape(each.name)}."))
    return parts


def partial_panels(tree: xr.DataTree) -> list[UIElement]:
    """Return the elements of a structure that is not finished: its largest mechanisms so far."""
    summary, count = (
        html_block(summary_html(summary_of(tree))),
        tree["mechanisms"].sizes["mechanism"],
    )
    if not count:
        return [summary, section_heading("Mechanisms", "None that is irreducible was found yet.")]
    few = structure_figures.largest_distinctions(tree)
    data = few["mechanisms"].to_dataset()
    source = structure_figures.distinctions_source(data, known_labels(tree))
    shown = structure_figures.drawn_text(tree, few)
    about = f"Not finished. Irreducible mechanisms found so far, {count:,}"
    about += f"; this page has {shown}." if few is not tree else "; which are distinctions is open."
    panels = structure_figures.distinction_panels(source, total=f"{count:,}" * (few is not tree))
    return [summary, section_heading("Mechanisms so far", about), panels]


def nexus_panels(doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Return the elements of a causal nexus: its account, and the candidates for it."""
    candidates = overview_panels(doc, tree)
    if "links" not in tree.children:
        return candidates
    return [*account_panels(doc, tree), *candidates[1:]]


def system_panels(_doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Return the elements of a system analysis: its network beside its summary."""
    fig, _ = draw_network(
        NetworkDrawing.from_system(tree), "System: state and minimum partition", 420
    )
    about = html_block(summary_html(summary_of(tree)), TEXT_PIXELS)
    return [page_grid(fig, about), *transition_panels(tree)]


def structure_panels(doc: Document, tree: xr.DataTree) -> list[UIElement]:
    """Return the elements of a cause-effect structure: those for which the result has a node."""
    whole, largest = tree, None
    if "relations" in tree.children and tree["distinctions"].sizes["mechanism"]:
        largest = relation_figures.largest_relations(tree)
    named = () if largest is None else relation_figures.named_in(largest)
    tree = structure_figures.largest_distinctions(whole, named)
    data = tree["distinctions"].to_dataset()
    is_specified = "state_cause" in data  # concepts of IIT 3.0 specify repertoires, not states
    source = structure_figures.distinctions_source(data, known_labels(tree))
    fig, lights = draw_network(
        NetworkDrawing.from_system(tree), "System: state, cut, selected distinction"
    )
    if not data.sizes["mechanism"]:
        what = "distinctions" if is_specified else "concepts"
        reason = tree["system"].attrs.get("reason") or "no mechanism specifies one"
        sentence = section_heading("Distinctions", escape(f"This system has no {what}: {reason}."))
        return [page_grid(fig, html_block(summary_html(summary_of(tree)), TEXT_PIXELS)), sentence]
    note = html_block("", name="selection", tags=[SPOKEN])
    descending = np.argsort(-source.data["phi"], kind="stable").tolist()
    choices = [(str(k), source.data["mechanism"][k]) for k in descending]
    picker = menu("Distinction", choices, 260, name="picker")
    args: dict[str, Any] = {
        "distinctions": source, "lights": lights, "note": note, "picker": picker,
        "members": structure_figures.memberships(data),
        "rep": None, "bars": {}, "figures": {}, "relations": None, "shown": None, "points": None,
        "drawn": relation_figures.MAX_DRAWN_RELATIONS, "totals": [], "total": "", "about": None,
    }  # fmt: skip
    key = html_block(STRUCTURE_KEY if is_specified else CONCEPT_KEY)
    text = column(
        html_block(summary_html(summary_of(whole))), picker, note, key,
        sizing_mode="stretch_width", styles={"flex": f"1 1 {TEXT_PIXELS}px", "min-width": "0"},
    )  # fmt: skip
    total, about = "", "Select a row, a dot, or an entry of the list above."
    if tree is not whole:
        total = f"{whole['distinctions'].sizes['mechanism']:,}"
        about = f"Of {total} distinctions this page has {data.sizes['mechanism']:,}: {LARGEST_NOTE}"
    unit = " (bits)" if is_specified else ""
    parts: list[UIElement] = [
        page_grid(fig, text),
        section_heading("Distinctions", about),
        structure_figures.distinction_panels(source, unit, total),
    ]
    if "network" in tree.children and ("repertoires" in tree.children or not is_specified):
        parts += _repertoire_panels(tree, args)
    if largest is not None:
        parts += _relation_panels(tree, data, largest, args)
    if "landscape" in tree.children:
        maps = (structure_figures.landscape(tree, side, source) for side in ("cause", "effect"))
        parts += [section_heading("Mechanism × purview", LANDSCAPE_NOTE), page_grid(*maps)]
    elif "repertoires" in tree.children:
        about = f"Not drawn: this map is for systems of at most {LANDSCAPE_MAX_UNITS} units."
        parts.append(section_heading("Mechanism × purview", about))
    parts += lattice_panels(tree, source)
    parts += transition_panels(tree, source, args["members"])
    _link_panels(doc, args)
    return parts


def _repertoire_panels(tree: xr.DataTree, args: dict[str, Any]) -> list[UIElement]:
    network = tree["network"].to_dataset()
    levels = network["levels"].values[network["inside"].values].tolist()
    kinds: tuple[str, ...] = structure_figures.REPERTOIRE_KINDS
    if "repertoires" in tree.children:
        repertoires = tree["repertoires"].to_dataset()
        args["rep"] = structure_figures.repertoire_arrays(repertoires, levels)
    else:
        kinds, data = kinds[:2], tree["distinctions"].to_dataset()
        args["rep"] = structure_figures.concept_repertoire_arrays(data, levels)
    for side in ("cause", "effect"):
        fig, source = structure_figures.repertoire_bars(side, kinds=kinds)
        args["bars"][side], args["figures"][side] = source, fig
    about = (
        "Of the selected distinction. On the cause side the partitioned distribution is "
        "renormalised; of large purviews the most probable states are shown."
    )
    figures = (args["figures"]["cause"], args["figures"]["effect"])
    return [section_heading("Repertoires", about), page_grid(*figures)]


def _relation_panels(
    tree: xr.DataTree,
    data: xr.Dataset,
    largest: relation_figures.LargestRelations,
    args: dict[str, Any],
) -> list[UIElement]:
    if not largest.listed:
        return [section_heading("Relations", "This structure has no relations.")]
    fig, source, shown, points = relation_figures.draw_relations(largest, data)
    count = relation_figures.count_text(largest.count)
    about = html_block("", name="drawn-relations", tags=[SPOKEN])
    totals = relation_figures.counts_of_each(tree)
    args |= {"relations": source, "shown": shown, "points": points, "about": about}
    total = count if largest.count else ""
    args |= {"totals": totals, "total": total}
    args["figures"]["relations"] = fig
    listed = len(largest.listed)
    more = f"; the {listed} with the largest φ_r are listed" if str(listed) != largest.count else ""
    note = f"{count} relation{'s' * (count != '1')}{more}."
    plots = page_grid(
        relation_figures.relations_by_degree(tree["relations"].to_dataset()),
        relation_figures.relations_by_phi(largest),
    )
    beside = column(
        plots, relation_figures.relations_table(source, total),
        sizing_mode="stretch_width", styles={"flex": "1 1 560px", "min-width": "0"},
    )  # fmt: skip
    return [section_heading("Relations", note), about, page_grid(fig, beside)]


def _link_panels(doc: Document, args: dict[str, Any]) -> None:
    """Make every panel follow the selected distinction or relation."""
    source, relations = args["distinctions"], args["relations"]
    source.selected.js_on_change("indices", CustomJS(args=args, code=script("select.js")))
    args["picker"].js_on_change(
        "value", CustomJS(args={"distinctions": source}, code=SELECT_DISTINCTION)
    )
    if relations is not None:
        both = {"distinctions": source, "relations": relations}
        relations.selected.js_on_change("indices", CustomJS(args=both, code=SELECT_RELATION))
    best = int(source.data["phi"].argmax()) if len(source.data["phi"]) else -1
    first = CustomJS(args={"distinctions": source, "best": best}, code=SELECT_LARGEST)
    doc.js_on_event(DocumentReady, first)
