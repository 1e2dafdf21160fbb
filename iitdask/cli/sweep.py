"""A sweep on the command line: running it, and what a terminal shows of its cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from iitdask.result.profile import axis_rows, cube_rows

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["print_cube"]

MOST = 24


def print_cube(data: xr.Dataset, console: Console | None = None) -> None:
    """Print what a cube says in all, and along each axis."""
    console = console or Console(highlight=False)
    about = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in cube_rows(data):
        about.add_row(name, value)
    console.print(about)
    for dim in data.sizes:
        columns, rows = axis_rows(data, str(dim))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in columns:
            table.add_column(name, justify="left" if name == dim else "right", no_wrap=True)
        for row in rows[:MOST]:
            table.add_row(*row)
        console.print()
        console.print(table)
        if len(rows) > MOST:
            console.print(f"and {len(rows) - MOST} values of {dim} more")
