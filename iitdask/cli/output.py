"""Tables, amounts and durations on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import xarray as xr
from rich.console import Console
from rich.table import Table

from iitdask.errors import InputError
from iitdask.result import formatting
from iitdask.result import formatting as summary
from iitdask.result.causation import (
    LINK_COLUMNS,
    account_summary,
    causation_summary,
    causation_table,
    link_rows,
)
from iitdask.result.complexes import complexes_summary, complexes_table
from iitdask.result.cube import axis_table, cube_summary, is_cube

__all__ = [
    "bytes_text",
    "parse_duration",
    "parse_memory",
    "print_cube",
    "print_pairs",
    "print_result",
    "print_table",
    "seconds_text",
]


def seconds_text(seconds: float) -> str:
    """Write a duration: ``0.35 s``, ``12 min``, ``3.4 h``."""
    if math.isnan(seconds):
        return "unknown"
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def bytes_text(count: float) -> str:
    """Write a number of bytes: ``12 kB``, ``3.4 GB``."""
    for limit, unit, size in ((1e3, "B", 1), (1e6, "kB", 1e3), (1e9, "MB", 1e6)):
        if count < limit:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GB"


def parse_memory(given: str | int | None, where: str) -> int | None:
    """Read an amount of memory such as ``4GB``."""
    from dask.utils import parse_bytes

    if given is None:
        return None
    try:
        return int(parse_bytes(given))
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected an amount such as 4GB, got {given!r}") from error


def parse_duration(given: str | None, where: str) -> float | None:
    """Read a time such as ``55m``, ``2 hours`` or, as SLURM writes it, ``1-12:00:00``."""
    if given is None:
        return None
    try:
        return _clock_seconds(given) if ":" in given else _timedelta_seconds(given)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{where}: expected a time such as 55m or 01:30:00, got {given!r}"
        ) from error


def _timedelta_seconds(given: str) -> float:
    from dask.utils import parse_timedelta

    return float(parse_timedelta(given))


def _clock_seconds(given: str) -> float:
    days, _, clock = given.rpartition("-")
    parts = [float(part) for part in clock.split(":")]
    if days and len(parts) < 3:  # D-HH:MM
        parts.append(0.0)
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + part
    return seconds + 86400 * float(days or 0)


MAX_TABLE_ROWS = 40
"""Rows that a terminal shows."""
NUMBER_WORDS = ("phi", "alpha", "done")
"""Words in the names of columns of numbers."""


def print_pairs(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print names with their values."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    what: str,
    most: int = MAX_TABLE_ROWS,
) -> None:
    """Print the first rows under their columns, and how many more there are of what they are."""
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        number = any(word in name.lower() for word in NUMBER_WORDS)
        table.add_column(name, justify="right" if number else "left", no_wrap=what != "complexes")
    for row in rows[:most]:
        table.add_row(*row)
    console.print()
    console.print(table)
    if len(rows) > most:
        console.print(f"and {len(rows) - most} {what} more; `iitdask show STORE --json` has all")


MAX_AXIS_ROWS = 24
"""Values of an axis that a terminal shows."""


def print_cube(data: xr.Dataset, console: Console) -> None:
    """Print what a cube says in all, and along each axis."""
    print_pairs(console, cube_summary(data))
    for dim in data.sizes:
        print_table(console, *axis_table(data, str(dim)), f"values of {dim}", MAX_AXIS_ROWS)


def print_result(tree: xr.DataTree, console: Console | None = None) -> None:
    """Print what a result says about the system, and its distinctions."""
    console = console or Console(highlight=False)
    if is_cube(tree):
        print_cube(tree.to_dataset(), console)
        return
    if "complexes" in tree.children:
        print_pairs(console, complexes_summary(tree))
        print_table(console, *complexes_table(tree), "complexes")
        return
    if "candidates" in tree.children or "events" in tree.children:
        print_pairs(console, causation_summary(tree))
        print_table(console, *causation_table(tree), "more")
        if "links" in tree.children:
            console.print()
    if "events" in tree.children:
        return
    if "links" in tree.children:
        print_pairs(console, account_summary(tree))
        print_table(console, LINK_COLUMNS, link_rows(tree), "links")
        return
    conceptual = formatting.is_iit3(tree)
    print_pairs(console, formatting.iit3_summary(tree) if conceptual else summary.iit4_summary(tree))
    if "distinctions" not in tree.children:
        return
    if conceptual:
        print_table(console, formatting.CONCEPT_COLUMNS, formatting.concept_rows(tree), "concepts")
        rows = formatting.repertoire_rows(tree)
        print_table(console, formatting.REPERTOIRE_COLUMNS, rows, "repertoires")
        return
    rows = sorted(summary.distinction_rows(tree), key=lambda r: -float(r[1]))
    print_table(console, summary.DISTINCTION_COLUMNS, rows, "distinctions")
