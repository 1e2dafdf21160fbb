"""``iitdask show`` and ``iitdask examples``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import yaml
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.tables import print_result
from iitdask.cli.units import bytes_text
from iitdask.errors import InputError
from iitdask.model import examples as published
from iitdask.result.summary import as_json
from iitdask.run.outcome import what_is_there
from iitdask.run.pantry import jars

__all__ = ["examples", "show"]


def show(
    store: str | None = None,
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    cache: str | None = None,
) -> int:
    """Show the results of a store, or what a cache holds.

    Parameters
    ----------
    store
        Directory or URL of the store.
    json_
        Everything, as JSON.
    cache
        Directory of a cache, instead of a store.
    """
    if cache is not None:
        return _show_cache(cache)
    if store is None:
        raise InputError("show: expected a store or --cache DIR, got neither")
    tree = what_is_there(store)
    if json_:
        print(json.dumps(as_json(tree), indent=1))
    else:
        print_result(tree)
    return 0


def _show_cache(directory: str) -> int:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("stage", "entry", "blocks", "size", "last used", "in use"):
        table.add_column(column)
    found = jars(directory)
    for jar in sorted(found, key=lambda each: -each.used):
        used = datetime.fromtimestamp(jar.used, UTC).isoformat(timespec="seconds")
        entry = jar.path.name.rsplit("-", 1)[-1]
        done, size = f"{jar.done} of {jar.blocks}", bytes_text(jar.nbytes)
        table.add_row(jar.stage, entry, done, size, used, "yes" if jar.in_use else "no")
    Console(highlight=False).print(table)
    print(f"{len(found)} entries, {bytes_text(sum(jar.nbytes for jar in found))}")
    return 0


def examples(name: str | None = None, /) -> int:
    """List published systems, or print one as a study to start from.

    Parameters
    ----------
    name
        Name of an example.
    """
    if name is not None:
        print(yaml.safe_dump(published.spec(name), sort_keys=False, allow_unicode=True, width=100))
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("name", "source", "compute"):
        table.add_column(column)
    for each in published.names():
        about = published.spec(each)
        table.add_row(
            each, ", ".join(filter(None, (about["title"], about["figure"]))), about["compute"]
        )
    Console(highlight=False).print(table)
    return 0
