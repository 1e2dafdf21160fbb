"""Results as tables on a terminal."""

from __future__ import annotations

import xarray as xr
from rich.console import Console

from iitdask.cli.rows import print_about, print_rows
from iitdask.cli.sweep import print_cube
from iitdask.result import concepts, summary
from iitdask.result.account import LINK_COLUMNS, account_rows, link_rows
from iitdask.result.complexes import complexes_rows, complexes_table
from iitdask.result.cube import is_cube
from iitdask.result.passage import passage_rows, passage_table

__all__ = ["print_result"]


def print_result(tree: xr.DataTree, console: Console | None = None) -> None:
    """Print what a result says about the system, and its distinctions."""
    console = console or Console(highlight=False)
    if is_cube(tree):
        print_cube(tree.to_dataset(), console)
        return
    if "complexes" in tree.children:
        print_about(console, complexes_rows(tree))
        print_rows(console, *complexes_table(tree), "complexes")
        return
    if "candidates" in tree.children or "events" in tree.children:
        print_about(console, passage_rows(tree))
        print_rows(console, *passage_table(tree), "more")
        if "links" in tree.children:
            console.print()
    if "events" in tree.children:
        return
    if "links" in tree.children:
        print_about(console, account_rows(tree))
        print_rows(console, LINK_COLUMNS, link_rows(tree), "links")
        return
    conceptual = concepts.is_conceptual(tree)
    print_about(console, (concepts if conceptual else summary).system_rows(tree))
    if "distinctions" not in tree.children:
        return
    if conceptual:
        print_rows(console, concepts.COLUMNS, concepts.concept_rows(tree), "concepts")
        rows = concepts.repertoire_rows(tree)
        print_rows(console, concepts.REPERTOIRE_COLUMNS, rows, "repertoires")
        return
    rows = sorted(summary.distinction_rows(tree), key=lambda r: -float(r[1]))
    print_rows(console, summary.COLUMNS, rows, "distinctions")
