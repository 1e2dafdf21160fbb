"""``iitdask show`` and ``iitdask examples``."""

from __future__ import annotations

import json
from typing import Annotated

import yaml
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.tables import print_result
from iitdask.model import examples as published
from iitdask.result.summary import as_json
from iitdask.run.outcome import load_result

__all__ = ["examples", "show"]


def show(
    store: str, /, *, json_: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> int:
    """Show the results of a store.

    Parameters
    ----------
    store
        Directory or URL of the store.
    json_
        Everything, as JSON.
    """
    tree = load_result(store)
    if json_:
        print(json.dumps(as_json(tree), indent=1))
    else:
        print_result(tree)
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
