"""What a terminal, a notebook or a page says first about any result: title, summary, tables."""

from __future__ import annotations

from typing import Any, NamedTuple

import xarray as xr

from iitdask.result import causal_accounts, cube, formatting, label_tree
from iitdask.theory.catalog import computation_of

MAX_TITLE_UNITS_CHARACTERS = 60
MAX_TITLE_STATE_CHARACTERS = 40


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


def complexes_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a search for complexes."""
    table = Table("complexes", *label_tree.complexes_table(tree))
    return [Overview(label_tree.complexes_summary(tree), [table])]


def events_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of true events."""
    table = Table("events", *causal_accounts.events_table(tree))
    return [Overview(causal_accounts.events_summary(tree), [table])]


def nexus_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overviews of the candidates for a causal nexus and of its account."""
    table = Table("candidates", *causal_accounts.candidates_table(tree))
    candidates = Overview(causal_accounts.nexus_summary(tree), [table])
    return [candidates, *(account_overviews(tree) if "links" in tree.children else [])]


def account_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a causal account."""
    table = Table("links", causal_accounts.LINK_COLUMNS, causal_accounts.link_rows(tree))
    return [Overview(causal_accounts.account_summary(tree), [table])]


def system_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a system analysis or cause-effect structure."""
    tables = []
    if "distinctions" in tree.children and formatting.is_iit3(tree):
        repertoires = formatting.repertoire_rows(tree)
        tables = [
            Table("concepts", formatting.CONCEPT_COLUMNS, formatting.distinction_rows(tree)),
            Table("repertoires", formatting.REPERTOIRE_COLUMNS, repertoires),
        ]
    elif "distinctions" in tree.children:
        distinctions = formatting.distinction_rows(tree)
        tables = [Table("distinctions", formatting.DISTINCTION_COLUMNS, distinctions)]
    return [Overview(formatting.system_summary(tree), tables)]


def attribute_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the attributes of a result as its overview."""
    return [Overview([(str(name), str(value)) for name, value in tree.attrs.items()], [])]


def overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overviews of a result, the first of what was asked for."""
    if cube.is_cube(tree):
        data = tree.to_dataset()
        tables = [Table(f"values of {dim}", *cube.axis_table(data, str(dim))) for dim in data.sizes]
        return [Overview(cube.cube_summary(data), tables)]
    computation = computation_of(tree)
    if computation is None:
        return attribute_overviews(tree)
    return list(computation.load("overviews")(tree))


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
    computation = computation_of(tree)
    name = "Result" if computation is None else computation.title
    if "{" in name:
        return name.format_map(about)
    state = _shortened(str(about.get("state", "")), MAX_TITLE_STATE_CHARACTERS)
    units = str(about.get("units") or about.get("substrate_units") or about.get("searched") or "")
    units = _shortened(units, MAX_TITLE_UNITS_CHARACTERS)
    name += f" of {units}" if units else ""
    return f"{name} in state {state}" if state else name


def _shortened(text: str, max_characters: int) -> str:
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."
