"""Tables of results on a terminal, and times that users write."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from iitdask.errors import InputError, quote

if TYPE_CHECKING:
    import xarray as xr

Workers = Annotated[int | None, Parameter(name=["--workers", "-n"])]
MAX_TABLE_ROWS = 40
PIPED_WIDTH = 1_000_000  # Characters of a line that no terminal shows: nothing is folded or cut
MAX_PORT = 65535
NUMBER_WORDS = ("phi", "alpha", "done")  # Words in the names of columns of numbers


def print_result(tree: xr.DataTree) -> None:
    """Print the summary of a result and the first rows of its tables."""
    from iitdask.result.overview import overviews

    console = _console()
    for number, overview in enumerate(overviews(tree)):
        if number:
            console.print()
        console.print(_text_table((), overview.summary, ()))
        for each in filter(lambda each: each.rows, overview.tables):
            right = [name for name in each.columns if any(w in name.lower() for w in NUMBER_WORDS)]
            table = _text_table(each.columns, each.rows[:MAX_TABLE_ROWS], right)
            for column in table.columns:
                column.no_wrap = each.name != "complexes"
            console.print("", table, sep="\n")
            if len(each.rows) > MAX_TABLE_ROWS:
                more = f"{len(each.rows) - MAX_TABLE_ROWS} {each.name} more"
                console.print(f"and {more}; `iitdask show STORE --json` has all")


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Print rows of text; columns in `right` are aligned right, those in `whole` never folded."""
    table = _text_table(columns, rows, right)
    for column in table.columns:
        if column.header in whole:
            column.min_width = max(cell_len(str(cell)) for cell in column.cells)
    _console().print(table)


def _console() -> Console:
    """Return a console as wide as the terminal; a file or a pipe gets each record in one line."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _text_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]
) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(columns))
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def require_port(name: str, port: int | None) -> None:
    """Raise an InputError if a number is given that no port can have."""
    if port is not None and not 0 <= port <= MAX_PORT:
        raise InputError(f"--{name}: expected a port from 0 to {MAX_PORT}, got {quote(port)}")


def parse_duration(duration: str | None, name: str) -> float | None:
    """Return a time such as ``55m``, ``2 hours`` or SLURM's ``1-12:00:00`` in seconds."""
    from dask.utils import parse_timedelta

    if duration is None:
        return None
    try:
        seconds = float(_clock_seconds(duration) if ":" in duration else parse_timedelta(duration))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:  # false for nan, too
        raise InputError(f"{name}: expected a time such as 55m or 01:30:00, got {quote(duration)}")
    return seconds


def _clock_seconds(duration: str) -> float:
    days, _, clock = duration.rpartition("-")
    parts = [float(part) for part in clock.split(":")]
    if days and len(parts) < 3:  # D-HH:MM
        parts.append(0.0)
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + part
    return seconds + 86400 * float(days or 0)
