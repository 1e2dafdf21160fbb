"""What a terminal, a notebook or a page says first about any result: title, summary, tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import xarray as xr

from iitdask.result import causation, complexes, cube, formatting

__all__ = ["Overview", "Table", "overviews", "summary_of", "title_of"]

MAX_TITLE_UNITS_CHARACTERS = 60
MAX_TITLE_STATE_CHARACTERS = 40
TITLES = {
    "events": "True events",
    "complexes": "Complexes",
    "distinctions": "Cause-effect structure",
}
"""Title by a node of the tree; the first that fits."""


class Table(NamedTuple):
    """Rows of text under columns."""

    name: str
    """What the rows are, in the plural."""
    columns: tuple[str, ...]
    """Names of the columns."""
    rows: list[tuple[str, ...]]
    """One text per column."""


class Overview(NamedTuple):
    """A summary and the tables that belong to it."""

    summary: list[tuple[str, str]]
    """Pairs of name and value."""
    tables: list[Table]
    """Most important first."""


def _of_complexes(tree: xr.DataTree) -> Overview:
    table = Table("complexes", *complexes.complexes_table(tree))
    return Overview(complexes.complexes_summary(tree), [table])


def _of_causation(tree: xr.DataTree) -> Overview:
    name = "events" if "events" in tree.children else "candidates"
    table = Table(name, *causation.causation_table(tree))
    return Overview(causation.causation_summary(tree), [table])


def _of_account(tree: xr.DataTree) -> Overview:
    table = Table("links", causation.LINK_COLUMNS, causation.link_rows(tree))
    return Overview(causation.account_summary(tree), [table])


def _of_system(tree: xr.DataTree) -> Overview:
    tables = []
    if "distinctions" in tree.children and formatting.is_iit3(tree):
        repertoires = formatting.repertoire_rows(tree)
        tables = [
            Table("concepts", formatting.CONCEPT_COLUMNS, formatting.concept_rows(tree)),
            Table("repertoires", formatting.REPERTOIRE_COLUMNS, repertoires),
        ]
    elif "distinctions" in tree.children:
        distinctions = formatting.distinction_rows(tree)
        tables = [Table("distinctions", formatting.DISTINCTION_COLUMNS, distinctions)]
    return Overview(formatting.system_summary(tree), tables)


OVERVIEWS: dict[str, Callable[[xr.DataTree], Overview]] = {
    "complexes": _of_complexes,
    "candidates": _of_causation,
    "events": _of_causation,
    "links": _of_account,
    "system": _of_system,
}
"""Overview by a node of the tree; the first that fits."""


def overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overviews of a result; a causal nexus has that of its account as well."""
    if cube.is_cube(tree):
        data = tree.to_dataset()
        tables = [Table(f"values of {dim}", *cube.axis_table(data, str(dim))) for dim in data.sizes]
        return [Overview(cube.cube_summary(data), tables)]
    makers = [make for node, make in OVERVIEWS.items() if node in tree.children]
    if not makers:
        return [Overview([(str(name), str(value)) for name, value in tree.attrs.items()], [])]
    count = 2 if {"candidates", "links"} <= set(tree.children) else 1
    return [make(tree) for make in makers[:count]]


def summary_of(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return pairs of name and value that summarise a result."""
    return overviews(tree)[0].summary


def title_of(tree: xr.DataTree) -> str:
    """Return a title of one line."""
    about: dict[Any, Any] = {}
    for node in (*tree.children.values(), tree):
        about |= node.to_dataset().attrs
    if cube.is_cube(tree):
        return f"Sweep over {', '.join(map(str, tree.dataset['status'].dims))}"
    if "links" in tree.children:
        return f"Account of {about['substrate_units']} from {about['before']} to {about['after']}"
    state = _shortened(str(about.get("state", "")), MAX_TITLE_STATE_CHARACTERS)
    name = next((text for node, text in TITLES.items() if node in tree.children), "System")
    units = str(about.get("units") or about.get("substrate_units") or about.get("searched") or "")
    units = _shortened(units, MAX_TITLE_UNITS_CHARACTERS)
    return f"{name} of {units} in state {state}" if state else f"{name} of {units}"


def _shortened(text: str, max_characters: int) -> str:
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."
