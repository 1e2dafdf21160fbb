"""The accessors ``tree.iit`` and ``dataset.iit``: results in notebooks, as tables and figures.

Text from users is escaped here; nothing in this module needs Bokeh.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.result.cube import is_cube, replaced_file
from iitdask.result.netcdf import register_netcdf
from iitdask.result.overview import overviews, title_of
from iitdask.theory.catalog import COMPUTATIONS

MAX_TABLE_ROWS = 60
MAX_NOTEBOOK_ROWS = 20
TEX_MARKS = {"$$": "$", r"\(": "(", r"\)": ")", r"\[": "[", r"\]": "]"}
"""Marks that Bokeh takes for TeX, for which it would fetch a library from the network."""
SYMBOLS = {"phi_s": "φ_s", "Phi": "Φ", "alpha of the account": "α of the account"}
"""Names of numbers in a summary that are symbols where letters are not bound to a terminal."""
NOTEBOOK_STYLE = (
    "<style>.iitdask th { text-align: left } .iitdask td, .iitdask th { padding: 1px 12px 1px 0; "
    "text-align: left }</style>"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A self-contained HTML page."""

    html: str = field(repr=False)  # Source of the page
    height: int = 900  # Pixels of the frame that a notebook shows the page in

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file."""
        with replaced_file(path) as partial:
            partial.write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Frame the page, so that its scripts cannot touch the notebook."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


class IITAccessor:
    """A result as a notebook shows it, and its figures.

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.ces(iit.examples.load("xor"), "000")
    >>> "φ_s" in tree.iit._repr_html_()
    True
    """

    def __init__(self, result: Any) -> None:
        self._result = result

    def _repr_html_(self) -> str:
        tree = as_tree(self._result)
        if not tree.children and not is_cube(tree):
            return str(self._result._repr_html_())
        parts = [f"<b>{escape(title_of(tree))}</b>"]
        for overview in overviews(tree):
            parts.append(summary_html(overview.summary))
            parts += [
                table_html(table.columns, table.rows, MAX_NOTEBOOK_ROWS)
                for table in overview.tables[:1]
            ]
        return f'{NOTEBOOK_STYLE}<div class="iitdask">{"".join(parts)}</div>'

    @property
    def plot(self) -> Any:
        """Figures of this result, see ``iitdask.plot``: ``tree.iit.plot.network()``."""
        return _PlotAccessor(self._result)

    def explorer(self) -> Page:
        """Return the page of linked figures."""
        page: Page = _plot_module().explorer(self._result)
        return page


class _PlotAccessor:
    """The functions of ``iitdask.plot`` with the result filled in."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __getattr__(self, name: str) -> Any:
        figures = _plot_module()
        if name not in figures.__all__:
            raise AttributeError(f"iitdask.plot has no figure {name!r}")
        draw = getattr(figures, name)
        return lambda *args, **options: draw(self._result, *args, **options)

    def __dir__(self) -> list[str]:
        return list(_plot_module().__all__)


def _plot_module() -> Any:
    # Bokeh takes a second to import: only drawing waits for it.
    return import_module("iitdask.view.plot")


def register() -> None:
    """Register the accessors of datasets and trees and their writing of NetCDF, once."""
    register_netcdf()
    if not hasattr(xr.Dataset, "iit"):
        xr.register_dataset_accessor("iit")(IITAccessor)  # type: ignore[no-untyped-call]
        xr.register_datatree_accessor("iit")(IITAccessor)  # type: ignore[no-untyped-call]


def as_tree(result: xr.Dataset | xr.DataTree) -> xr.DataTree:
    """Return a result as a tree; a dataset becomes the node its variables belong to."""
    if isinstance(result, xr.DataTree):
        return result
    if not isinstance(result, xr.Dataset):
        raise InputError(f"expected a result, a Dataset or a DataTree, got {quote(result)}")
    tree = xr.DataTree(result)
    if is_cube(tree):
        return tree
    pairs = (pair for each in COMPUTATIONS.values() for pair in each.nodes.items())
    nodes = (node for node, variable in pairs if variable in result)
    return xr.DataTree.from_dict({f"/{next(nodes, '')}": result})


def without_tex(tree: xr.DataTree) -> xr.DataTree:
    """Return the tree without marks of TeX in texts and attributes."""
    nodes: dict[str, xr.Dataset] = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        for name, value in data.variables.items():
            if value.dtype.kind in "OUT":
                texts = np.array([*map(_strip_tex, value.values.ravel())], object)
                data[name] = (value.dims, texts.reshape(value.shape), value.attrs)
        data.attrs = {k: _strip_tex(v) for k, v in data.attrs.items()}
        nodes[node.path] = data
    return xr.DataTree.from_dict(nodes)


def _strip_tex(value: Any) -> Any:
    if isinstance(value, str) and ("$" in value or "\\" in value):
        for mark, plain in TEX_MARKS.items():
            value = value.replace(mark, plain)
    return value


def summary_html(rows: Sequence[tuple[str, str]]) -> str:
    """Return pairs of name and value as an HTML table."""
    lines = "".join(
        f'<tr><th scope="row">{escape(SYMBOLS.get(name, name))}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table class="facts">{lines}</table>'


def table_html(
    columns: Sequence[str], rows: Sequence[Sequence[str]], max_rows: int = MAX_TABLE_ROWS
) -> str:
    """Return rows as an HTML table; the first column names them."""
    if not rows:
        return "<p>None yet.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in values)
        + "</tr>"
        for name, *values in rows[:max_rows]
    )
    more = f"<p>and {len(rows) - max_rows} more</p>" if len(rows) > max_rows else ""
    return f'<table class="rows"><tr>{head}</tr>{body}</table>{more}'
