"""Results of any shape as one: what the figures and the notebook view start from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["Page", "as_tree", "harmless"]

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


MATHS = {"$$": "$", r"\(": "(", r"\)": ")", r"\[": "[", r"\]": "]"}
"""What Bokeh takes for TeX, for which it would fetch a library from the network."""


def harmless(tree: xr.DataTree) -> xr.DataTree:
    """Take marks of TeX out of the names that users gave."""
    nodes: dict[str, xr.Dataset] = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        texts = {
            name: (value.dims, _plain(value.values), value.attrs)
            for name, value in data.variables.items()
            if value.dtype.kind in "OUT"
        }
        attrs = {k: _untexed(v) if isinstance(v, str) else v for k, v in data.attrs.items()}
        nodes[node.path] = data.assign_coords(
            {name: given for name, given in texts.items() if name in data.coords}
        ).assign({name: given for name, given in texts.items() if name in data.data_vars})
        nodes[node.path].attrs = attrs
    return xr.DataTree.from_dict(nodes)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    flat = [_untexed(each) if isinstance(each, str) else each for each in values.ravel().tolist()]
    return np.array(flat, object).reshape(values.shape)


def _untexed(text: str) -> str:
    for mark, plain in MATHS.items():
        text = text.replace(mark, plain)
    return text
