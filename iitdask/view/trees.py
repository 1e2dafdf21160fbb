"""Results of any shape as one: what the figures and the notebook view start from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import xarray as xr

__all__ = ["Page", "as_tree"]

NODES = {"candidates_evaluated": "complexes", "cut": "system", "mechanism_units": "distinctions"}
"""Which node has a variable."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of its own, which needs nothing else."""

    html: str = field(repr=False)
    """All of it."""
    height: int = 900
    """Pixels of the frame a notebook gives it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Frame the page: what is in it cannot touch the notebook."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


def as_tree(result: xr.Dataset | xr.DataTree) -> xr.DataTree:
    """Return a result as a tree; a dataset becomes the node its variables belong to."""
    if isinstance(result, xr.DataTree):
        return result
    names = {
        "candidates_evaluated": "complexes",
        "cut": "system",
        "mechanism_units": "distinctions",
    }
    node = next((node for variable, node in names.items() if variable in result), "")
    return xr.DataTree.from_dict({f"/{node}": result})
