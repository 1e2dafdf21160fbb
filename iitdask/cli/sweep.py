"""A sweep on the command line: what a terminal shows of its cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iitdask.cli.rows import print_about, print_rows
from iitdask.result.profile import axis_rows, cube_rows

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

__all__ = ["print_cube"]

MOST = 24
"""Values of an axis that a terminal shows."""


def print_cube(data: xr.Dataset, console: Console) -> None:
    """Print what a cube says in all, and along each axis."""
    print_about(console, cube_rows(data))
    for dim in data.sizes:
        print_rows(console, *axis_rows(data, str(dim)), f"values of {dim}", MOST)
