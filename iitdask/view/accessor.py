"""The accessors ``tree.iit`` and ``dataset.iit``: results in notebooks, as tables and figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.result import formatting
from iitdask.result import formatting as summary
from iitdask.result.causation import account_summary, causation_summary, causation_table
from iitdask.result.complexes import complexes_summary
from iitdask.result.cube import cube_summary, is_cube
from iitdask.result.formatting import DISTINCTION_COLUMNS, distinction_rows, is_iit3

__all__ = [
    "IITAccessor",
    "Page",
    "as_tree",
    "extra_table_html",
    "register",
    "summary_html",
    "summary_of",
    "table_html",
    "title_of",
    "without_tex",
]

NODE_OF_VARIABLE = {
    "candidates_evaluated": "complexes",
    "cut": "system",
    "mechanism_units": "distinctions",
}
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


TEX_MARKS = {"$$": "$", r"\(": "(", r"\)": ")", r"\[": "[", r"\]": "]"}
"""What Bokeh takes for TeX, for which it would fetch a library from the network."""


def without_tex(tree: xr.DataTree) -> xr.DataTree:
    """Take marks of TeX out of the names that users gave."""
    nodes: dict[str, xr.Dataset] = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        texts = {
            name: (value.dims, _without_tex_values(value.values), value.attrs)
            for name, value in data.variables.items()
            if value.dtype.kind in "OUT"
        }
        attrs = {k: _strip_tex(v) if isinstance(v, str) else v for k, v in data.attrs.items()}
        nodes[node.path] = data.assign_coords(
            {name: given for name, given in texts.items() if name in data.coords}
        ).assign({name: given for name, given in texts.items() if name in data.data_vars})
        nodes[node.path].attrs = attrs
    return xr.DataTree.from_dict(nodes)


def _without_tex_values(values: NDArray[Any]) -> NDArray[Any]:
    flat = [_strip_tex(each) if isinstance(each, str) else each for each in values.ravel().tolist()]
    return np.array(flat, object).reshape(values.shape)


def _strip_tex(text: str) -> str:
    for mark, plain in TEX_MARKS.items():
        text = text.replace(mark, plain)
    return text


SUMMARIES = {
    "complexes": complexes_summary,
    "candidates": causation_summary,
    "events": causation_summary,
    "links": account_summary,
    "system": summary.iit4_summary,
}
"""What there is to say by the node that a result has; the first that fits."""
TITLES = {
    "events": "True events",
    "complexes": "Complexes",
    "distinctions": "Cause-effect structure",
}


def summary_of(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Names and values of what there is to say about a result."""
    if is_cube(tree):
        return cube_summary(tree.to_dataset())
    if is_iit3(tree):
        return formatting.iit3_summary(tree)
    for node, rows in SUMMARIES.items():
        if node in tree.children:
            return rows(tree)
    return [(str(name), str(value)) for name, value in tree.attrs.items()]


def summary_html(rows: list[tuple[str, str]]) -> str:
    """Write names and values as a table."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table class="facts">{lines}</table>'


def table_html(titles: Sequence[str], rows: Sequence[Sequence[str]], most: int = 60) -> str:
    """Write rows under titles; the first column names them."""
    if not rows:
        return "<p>None yet.</p>"
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in rest)
        + "</tr>"
        for name, *rest in rows[:most]
    )
    more = f"<p>and {len(rows) - most} more</p>" if len(rows) > most else ""
    return f'<table class="rows"><tr>{head}</tr>{body}</table>{more}'


def extra_table_html(tree: xr.DataTree) -> str:
    """Write the rows of a nexus or of true events, which have no figures of their own."""
    if "candidates" not in tree.children and "events" not in tree.children:
        return ""
    return table_html(*causation_table(tree))


def title_of(tree: xr.DataTree) -> str:
    """Name a result in one line."""
    about: dict[Any, Any] = {}
    for node in (*tree.children.values(), tree):
        about |= node.to_dataset().attrs
    if is_cube(tree):
        return f"Sweep over {', '.join(map(str, tree.dataset['status'].dims))}"
    if "links" in tree.children:
        return f"Account of {about['substrate_units']} from {about['before']} to {about['after']}"
    state = str(about.get("state", ""))
    state = state if len(state) <= 40 else state[:37] + "..."
    name = next((text for key, text in TITLES.items() if key in tree.children), "System")
    units = str(about.get("units") or about.get("substrate_units") or about.get("searched") or "")
    units = units if len(units) <= 60 else units[:57] + "..."
    return f"{name} of {units} in state {state}" if state else f"{name} of {units}"


MAX_NOTEBOOK_ROWS = 20
NOTEBOOK_STYLE = (
    "<style>.iitdask th { text-align: left } .iitdask td, .iitdask th { padding: 1px 12px 1px 0; "
    "text-align: left }</style>"
)


class IITAccessor:
    """A result as a notebook shows it, and its figures.

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.ces(iit.examples.load("xor"), "000")
    >>> "phi_s" in tree.iit._repr_html_()
    True
    """

    def __init__(self, result: Any) -> None:
        self._result = result

    def _repr_html_(self) -> str:
        tree = as_tree(self._result)
        if not tree.children:
            return str(self._result._repr_html_())
        parts = [f"<b>{_escaped(title_of(tree))}</b>", summary_html(summary_of(tree))]
        if "relations" in tree.children:
            rows = sorted(distinction_rows(tree), key=lambda row: -float(row[1]))
            parts.append(table_html(DISTINCTION_COLUMNS, rows, MAX_NOTEBOOK_ROWS))
        return f'{NOTEBOOK_STYLE}<div class="iitdask">{"".join(parts)}</div>'

    @property
    def plot(self) -> Any:
        """Figures of this result, see ``iitdask.plot``: ``tree.iit.plot.network()``."""
        return _PlotAccessor(self._result)

    def explorer(self) -> Page:
        """Make the page of linked figures."""
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
        return lambda *given, **options: draw(self._result, *given, **options)

    def __dir__(self) -> list[str]:
        return list(_plot_module().__all__)


def _plot_module() -> Any:
    # Bokeh takes a second to import: only who draws waits for it.
    return import_module("iitdask.view.plot")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def register() -> None:
    """Give datasets and trees of xarray the accessor, once."""
    if not hasattr(xr.Dataset, "iit"):
        xr.register_dataset_accessor("iit")(IITAccessor)  # type: ignore[no-untyped-call]
        xr.register_datatree_accessor("iit")(IITAccessor)  # type: ignore[no-untyped-call]
