"""What is said about a result in words: title, facts, footnotes; always escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import xarray as xr

from iitdask.result import concepts, summary
from iitdask.result.account import account_rows
from iitdask.result.complexes import complexes_rows
from iitdask.result.concepts import is_conceptual
from iitdask.result.cube import is_cube
from iitdask.result.passage import passage_rows, passage_table
from iitdask.result.profile import cube_rows

__all__ = ["facts_html", "more_html", "rows_of", "table_html", "title_of"]

KINDS = {
    "complexes": complexes_rows,
    "candidates": passage_rows,
    "events": passage_rows,
    "links": account_rows,
    "system": summary.system_rows,
}
"""What there is to say by the node that a result has; the first that fits."""
TITLES = {
    "events": "True events",
    "complexes": "Complexes",
    "distinctions": "Cause-effect structure",
}


def rows_of(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Names and values of what there is to say about a result."""
    if is_cube(tree):
        return cube_rows(tree.to_dataset())
    if is_conceptual(tree):
        return concepts.system_rows(tree)
    for node, rows in KINDS.items():
        if node in tree.children:
            return rows(tree)
    return [(str(name), str(value)) for name, value in tree.attrs.items()]


def facts_html(rows: list[tuple[str, str]]) -> str:
    """Write names and values as a table."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table class="facts">{lines}</table>'


def table_html(titles: Sequence[str], rows: Sequence[Sequence[str]], most: int = 60) -> str:
    """Write rows under titles; the first column names them."""
    if not rows:
        return "<p>None yet.</p>"
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in rest)
        + "</tr>"
        for name, *rest in rows[:most]
    )
    more = f"<p>and {len(rows) - most} more</p>" if len(rows) > most else ""
    return f'<table class="rows"><tr>{head}</tr>{body}</table>{more}'


def more_html(tree: xr.DataTree) -> str:
    """Write the rows of a nexus or of true events, which have no figures of their own."""
    if "candidates" not in tree.children and "events" not in tree.children:
        return ""
    return table_html(*passage_table(tree))


def title_of(tree: xr.DataTree) -> str:
    """Name a result in one line."""
    about: dict[Any, Any] = {}
    for node in (*tree.children.values(), tree):
        about |= node.to_dataset().attrs
    if is_cube(tree):
        return f"Sweep over {', '.join(map(str, tree.dataset['status'].dims))}"
    if "links" in tree.children:
        return f"Account of {about['substrate_units']} from {about['before']} to {about['after']}"
    state = str(about.get("state", ""))
    state = state if len(state) <= 40 else state[:37] + "..."
    name = next((text for key, text in TITLES.items() if key in tree.children), "System")
    units = str(about.get("units") or about.get("substrate_units") or about.get("searched") or "")
    units = units if len(units) <= 60 else units[:57] + "..."
    return f"{name} of {units} in state {state}" if state else f"{name} of {units}"
