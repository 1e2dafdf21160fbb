"""What a terminal, a notebook or a page says first about any result: title, summary, tables."""

from __future__ import annotations

from typing import Any

import xarray as xr

from iitdask.model.labels import shortened, unit_set_names
from iitdask.result import cube, formatting
from iitdask.result.formatting import SOURCE_ATTRS, Overview, Table
from iitdask.theory.catalog import computation_of

MAX_TITLE_UNITS_CHARACTERS = 60
MAX_TITLE_STATE_CHARACTERS = 40


def system_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a system analysis or cause-effect structure."""
    summary = formatting.system_summary(tree)
    if "distinctions" not in tree.children:
        return [Overview(summary, [])]
    rows = formatting.distinction_rows(tree)
    if not formatting.is_iit3(tree):
        return [Overview(summary, [Table("distinctions", formatting.DISTINCTION_COLUMNS, rows)])]
    concepts = Table("concepts", formatting.CONCEPT_COLUMNS, rows)
    columns, repertoires = formatting.REPERTOIRE_COLUMNS, formatting.repertoire_rows(tree)
    return [Overview(summary, [concepts, Table("repertoires", columns, repertoires)])]


def attribute_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the attributes of a result as its overview."""
    said = {name: value for name, value in tree.attrs.items() if name not in SOURCE_ATTRS}
    return [Overview([(str(name), str(value)) for name, value in said.items()], [])]


def partial_overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overview of a structure that is not finished: its mechanisms so far."""
    about, data = tree.attrs, tree["mechanisms"].to_dataset()
    summary = [
        ("theory", str(about["theory"])),
        ("candidate system", f"{about['units']}, state {about['state']}"),
        ("partial", str(about["partial"])),
    ]
    columns = ("mechanism", "phi (bits)", "cause purview", "effect purview")
    rows = formatting.Rows(data.sizes["mechanism"], lambda chosen: _mechanism_rows(data, chosen))
    return [Overview(summary, [Table("mechanisms", columns, rows)])]


def _mechanism_rows(data: xr.Dataset, chosen: range) -> list[tuple[str, ...]]:
    data = data.isel(mechanism=list(chosen))
    labels = data["unit"].values
    sides = [unit_set_names(data[f"purview_{side}"].values, labels) for side in ("cause", "effect")]
    phis = [formatting.number_text(float(phi)) for phi in data["phi"].values]
    return list(zip(map(str, data["mechanism"].values), phis, *sides, strict=True))


def overviews(tree: xr.DataTree) -> list[Overview]:
    """Return the overviews of a result, the first of what was asked for."""
    if cube.is_cube(tree):
        data = tree.to_dataset()
        tables = [Table(f"values of {dim}", *cube.axis_table(data, str(dim))) for dim in data.sizes]
        return [Overview(cube.cube_summary(data), tables)]
    if "mechanisms" in tree.children:
        return partial_overviews(tree)
    computation = computation_of(tree)
    if computation is None:
        return attribute_overviews(tree)
    return list(computation.load("overviews")(tree))


def summary_of(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return pairs of name and value that summarise a result."""
    return overviews(tree)[0].summary


def source_of(tree: xr.DataTree) -> tuple[str, str]:
    """Return the name and title of what a result is about, and the citation; "" where not known."""
    about: dict[Any, Any] = {}
    for node in (*tree.children.values(), tree):
        about |= node.to_dataset().attrs
    said = [str(about[key]) for key in ("substrate_name", "substrate_title") if key in about]
    return ": ".join(said), str(about.get("substrate_citation", ""))


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
    state = shortened(str(about.get("state", "")), MAX_TITLE_STATE_CHARACTERS)
    units = str(about.get("units") or about.get("substrate_units") or about.get("searched") or "")
    units = shortened(units, MAX_TITLE_UNITS_CHARACTERS)
    name += f" of {units}" if units else ""
    return f"{name} in state {state}" if state else name
