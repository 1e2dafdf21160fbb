"""Rows of text as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

__all__ = ["print_about", "print_rows"]

MOST = 40
"""Rows that a terminal shows."""
NUMBERS = ("phi", "alpha", "done")
"""Words in the names of columns of numbers."""


def print_about(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print names with their values."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def print_rows(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    what: str,
    most: int = MOST,
) -> None:
    """Print the first rows under their columns, and how many more there are of what they are."""
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        number = any(word in name.lower() for word in NUMBERS)
        table.add_column(name, justify="right" if number else "left", no_wrap=what != "complexes")
    for row in rows[:most]:
        table.add_row(*row)
    console.print()
    console.print(table)
    if len(rows) > most:
        console.print(f"and {len(rows) - most} {what} more; `iitdask show STORE --json` has all")
