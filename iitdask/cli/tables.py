"""Results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from rich.console import Console
from rich.table import Table

from iitdask.cli.sweep import print_cube
from iitdask.result import concepts, summary
from iitdask.result.account import LINK_COLUMNS, account_rows, link_rows
from iitdask.result.complexes import complexes_rows, complexes_table
from iitdask.result.cube import is_cube
from iitdask.result.passage import passage_rows, passage_table

__all__ = ["print_result"]

MOST = 40
NUMBERS = ("phi", "alpha")


def print_result(tree: xr.DataTree, console: Console | None = None) -> None:
    """Print what a result says about the system, and its distinctions."""
    console = console or Console(highlight=False)
    if is_cube(tree):
        print_cube(tree.to_dataset(), console)
        return
    if "complexes" in tree.children:
        _print_about(console, complexes_rows(tree))
        _print_rows(console, *complexes_table(tree), "complexes")
        return
    if "candidates" in tree.children or "events" in tree.children:
        _print_about(console, passage_rows(tree))
        _print_rows(console, *passage_table(tree), "more")
        if "links" in tree.children:
            console.print()
    if "events" in tree.children:
        return
    if "links" in tree.children:
        _print_about(console, account_rows(tree))
        _print_rows(console, LINK_COLUMNS, link_rows(tree), "links")
        return
    conceptual = concepts.is_conceptual(tree)
    _print_about(console, (concepts if conceptual else summary).system_rows(tree))
    if "distinctions" not in tree.children:
        return
    if conceptual:
        _print_rows(console, concepts.COLUMNS, concepts.concept_rows(tree), "concepts")
        rows = concepts.repertoire_rows(tree)
        _print_rows(console, concepts.REPERTOIRE_COLUMNS, rows, "repertoires")
        return
    rows = sorted(summary.distinction_rows(tree), key=lambda r: -float(r[1]))
    _print_rows(console, summary.COLUMNS, rows, "distinctions")


def _print_about(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def _print_rows(
    console: Console, columns: Sequence[str], rows: Sequence[tuple[str, ...]], what: str
) -> None:
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        number = any(word in name.lower() for word in NUMBERS)
        table.add_column(name, justify="right" if number else "left", no_wrap=what != "complexes")
    for row in rows[:MOST]:
        table.add_row(*row)
    console.print()
    console.print(table)
    if len(rows) > MOST:
        console.print(f"and {len(rows) - MOST} {what} more; `iitdask show STORE --json` has all")
