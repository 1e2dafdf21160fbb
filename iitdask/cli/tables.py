"""Results as tables on a terminal."""

from __future__ import annotations

import xarray as xr
from rich.console import Console
from rich.table import Table

from iitdask.result.account import LINK_COLUMNS, account_rows, link_rows
from iitdask.result.complexes import complexes_rows, complexes_table
from iitdask.result.summary import COLUMNS, distinction_rows, system_rows

__all__ = ["print_result"]

MOST = 40


def print_result(tree: xr.DataTree, console: Console | None = None) -> None:
    """Print what a result says about the system, and its distinctions."""
    console = console or Console(highlight=False)
    if "complexes" in tree.children:
        _print_complexes(tree, console)
        return
    if "links" in tree.children:
        _print_account(tree, console)
        return
    about = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in system_rows(tree):
        about.add_row(name, value)
    console.print(about)
    if "distinctions" not in tree.children:
        return
    rows = distinction_rows(tree)
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right" if "phi" in name else "left", no_wrap=True)
    for row in sorted(rows, key=lambda r: -float(r[1]))[:MOST]:
        table.add_row(*row)
    console.print()
    console.print(table)
    if len(rows) > MOST:
        console.print(
            f"and {len(rows) - MOST} distinctions more; `iitdask show STORE --json` has all"
        )


def _print_account(tree: xr.DataTree, console: Console) -> None:
    about = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in account_rows(tree):
        about.add_row(name, value)
    console.print(about)
    rows = link_rows(tree)
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in LINK_COLUMNS:
        table.add_column(name, justify="right" if name == "alpha" else "left", no_wrap=True)
    for row in rows[:MOST]:
        table.add_row(*row)
    console.print()
    console.print(table)
    if len(rows) > MOST:
        console.print(f"and {len(rows) - MOST} links more; `iitdask show STORE --json` has all")


def _print_complexes(tree: xr.DataTree, console: Console) -> None:
    about = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in complexes_rows(tree):
        about.add_row(name, value)
    console.print(about)
    columns, rows = complexes_table(tree)
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in ("phi_s", "Phi") else "left")
    for row in rows[:MOST]:
        table.add_row(*row)
    console.print()
    console.print(table)
    if len(rows) > MOST:
        console.print(f"and {len(rows) - MOST} complexes more; `iitdask show STORE --json` has all")
