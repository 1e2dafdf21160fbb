"""Results show themselves in notebooks: ``tree.iit`` and ``dataset.iit``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import xarray as xr

from iitdask.result.summary import COLUMNS, distinction_rows
from iitdask.view.facts import facts_html, rows_of, table_html, title_of
from iitdask.view.trees import Page, as_tree

__all__ = ["Shown", "register"]

MOST = 20
STYLE = (
    "<style>.iitdask th { text-align: left } .iitdask td, .iitdask th { padding: 1px 12px 1px 0; "
    "text-align: left }</style>"
)


class Shown:
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
        parts = [f"<b>{_escaped(title_of(tree))}</b>", facts_html(rows_of(tree))]
        if "relations" in tree.children:
            rows = sorted(distinction_rows(tree), key=lambda row: -float(row[1]))
            parts.append(table_html(COLUMNS, rows, MOST))
        return f'{STYLE}<div class="iitdask">{"".join(parts)}</div>'

    @property
    def plot(self) -> Any:
        """Figures of this result, see ``iitdask.plot``: ``tree.iit.plot.network()``."""
        return _Plots(self._result)

    def explorer(self) -> Page:
        """Make the page of linked figures."""
        page: Page = _figures().explorer(self._result)
        return page


class _Plots:
    """The functions of ``iitdask.plot`` with the result filled in."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __getattr__(self, name: str) -> Any:
        figures = _figures()
        if name not in figures.__all__:
            raise AttributeError(f"iitdask.plot has no figure {name!r}")
        draw = getattr(figures, name)
        return lambda *given, **options: draw(self._result, *given, **options)

    def __dir__(self) -> list[str]:
        return list(_figures().__all__)


def _figures() -> Any:
    # Bokeh takes a second to import: only who draws waits for it.
    return import_module("iitdask.view.plot")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def register() -> None:
    """Give datasets and trees of xarray the accessor, once."""
    if not hasattr(xr.Dataset, "iit"):
        xr.register_dataset_accessor("iit")(Shown)  # type: ignore[no-untyped-call]
        xr.register_datatree_accessor("iit")(Shown)  # type: ignore[no-untyped-call]
