"""Figures of results, one by one: ``iit.plot``. Each returns a Bokeh figure that shows itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import xarray as xr
from bokeh.embed import file_html
from bokeh.models import ColumnDataSource, LayoutDOM
from bokeh.plotting import figure
from bokeh.resources import INLINE

from iitdask.errors import InputError, quote
from iitdask.result.formatting import known_labels
from iitdask.result.overview import source_of, title_of
from iitdask.view import (
    account_figures,
    network_figures,
    relation_figures,
    static_figures,
    structure_figures,
    sweep_figures,
)
from iitdask.view.accessor import Page, as_tree
from iitdask.view.explorer import explorer_html

__all__ = [
    "account",
    "by_order",
    "complexes",
    "explorer",
    "landscape",
    "network",
    "plane",
    "relations",
    "relations_by_degree",
    "relations_by_phi",
    "static",
    "sweep",
]

VERSION = "iitdask_version"  # Attribute of a result that says what computed it
Result = xr.Dataset | xr.DataTree
_Drawn = TypeVar("_Drawn", bound=LayoutDOM)
_Arguments = ParamSpec("_Arguments")


def _showing_itself(draw: Callable[_Arguments, _Drawn]) -> Callable[_Arguments, _Drawn]:
    """Let a notebook show what a function draws, without a call that loads BokehJS before it."""

    @wraps(draw)
    def drawn(*args: _Arguments.args, **options: _Arguments.kwargs) -> _Drawn:
        result = draw(*args, **options)
        result._repr_html_ = lambda: _frame(result)
        return result

    return drawn


def _frame(drawn: LayoutDOM) -> str:
    """Return a figure in a frame of its own height, with all it needs."""
    height = getattr(drawn, "height", None) or 450
    return Page(file_html(drawn, INLINE, "iitdask"), height + 30)._repr_html_()


@_showing_itself
def network(result: Result, size: int = 420) -> figure:
    """Draw a candidate system with its state and the connections its minimum partition severs.

    Parameters
    ----------
    result : Dataset or DataTree
        What ``iitdask.sia`` or ``iitdask.ces`` returned.
    size : int
        Width and height, pixels.

    Returns
    -------
    figure
        Units on a circle, connections as arrows, severed ones dashed.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.plot.network(iit.sia(iit.examples.load("xor"), "000")).title.text
    'ABC in state 000'
    """
    tree = _require_node(result, "system")
    if not {"cut", "unit"} <= set(tree["system"].variables):
        raise InputError(
            "plot.network: expected the result of sia or ces, which has a minimum partition of a "
            "system; of an account, see plot.account"
        )
    about, drawing = tree["system"].attrs, network_figures.NetworkDrawing.from_system(tree)
    title = f"{about.get('units')} in state {about.get('state')}"
    return network_figures.draw_network(drawing, title, size)[0]


@_showing_itself
def by_order(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw phi of every distinction against the number of units in its mechanism.

    Parameters
    ----------
    result : Dataset or DataTree
        A cause-effect structure.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        One dot per distinction.
    """
    source, unit = _distinctions(result)
    return structure_figures.by_order(source, size, unit)


@_showing_itself
def plane(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw phi of every distinction's cause against phi of its effect.

    Parameters
    ----------
    result : Dataset or DataTree
        A cause-effect structure.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        One dot per distinction.
    """
    source, unit = _distinctions(result)
    return structure_figures.plane(source, size, unit)


@_showing_itself
def relations(result: Result, size: int = 420) -> figure:
    """Draw the largest relations as linked purviews.

    Parameters
    ----------
    result : DataTree
        A cause-effect structure with relations.
    size : int
        Width and height, pixels.

    Returns
    -------
    figure
        Purviews on two circles; the title says how many relations are drawn.
    """
    tree = _require_node(result, "relations")
    largest = relation_figures.largest_relations(tree)
    return relation_figures.draw_relations(largest, tree["distinctions"].to_dataset(), size)[0]


@_showing_itself
def relations_by_degree(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw the number of relations by degree.

    Parameters
    ----------
    result : DataTree
        A cause-effect structure with relations.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        log2 of the number of relations against the number of related distinctions.
    """
    data = _require_node(result, "relations")["relations"].to_dataset()
    return relation_figures.relations_by_degree(data, size)


@_showing_itself
def relations_by_phi(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw the distribution of phi over relations.

    Parameters
    ----------
    result : DataTree
        A cause-effect structure with relations.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        Histogram; only of the largest relations where there are too many, as the title says.
    """
    largest = relation_figures.largest_relations(_require_node(result, "relations"))
    return relation_figures.relations_by_phi(largest, size)


@_showing_itself
def landscape(result: Result, side: str = "cause", size: int = 470) -> figure:
    """Draw phi of every mechanism over every purview.

    Parameters
    ----------
    result : DataTree
        A result with a node ``/landscape``, as the explorer of a store has it.
    side : {"cause", "effect"}
        Side of the purviews.
    size : int
        Width and height, pixels.

    Returns
    -------
    figure
        Map of phi, mechanisms downwards, purviews across.
    """
    tree = _require_node(result, "landscape")
    data = tree["distinctions"].to_dataset()
    source = structure_figures.distinctions_source(data, known_labels(tree))
    return structure_figures.landscape(tree, side, source, size)


@_showing_itself
def complexes(result: Result, size: tuple[int, int] = (480, 330)) -> figure:
    """Draw phi_s of complexes against their size.

    Parameters
    ----------
    result : Dataset or DataTree
        What ``iitdask.complexes`` returned.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        One dot per complex; the explorer has the network coloured by them.
    """
    data = _require_node(result, "complexes")["complexes"].to_dataset()
    source, name = network_figures.complexes_source(data), network_figures.phi_name(data)
    return network_figures.by_size(source, size, name)


@_showing_itself
def account(result: Result, size: tuple[int, int] = (640, 420)) -> figure:
    """Draw an account: the units before and after, and the links between them.

    Parameters
    ----------
    result : DataTree
        What ``iitdask.account`` returned.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        Units before above units after, every link by its strength.
    """
    tree = _require_node(result, "links")
    return account_figures.draw_links(tree, account_figures.links_source(tree), size)


sweep = _showing_itself(sweep_figures.sweep)


CAPTIONS = {
    "network": "Units, dark where they are on, and their connections; dashed connections are "
    "severed by the minimum partition.",
    "by_order": "φ of every distinction by the number of units in its mechanism; distinctions of "
    "one order are side by side.",
    "plane": "φ of every distinction's cause and effect; φ of a distinction is the smaller one, "
    "and numbers say how many distinctions coincide.",
    "relations": "The largest relations as the purviews they bind, causes on the inner circle, "
    "effects on the outer one; the relation's overlap is common to all of them.",
    "relations_by_degree": "How many relations there are between so many distinctions.",
    "relations_by_phi": "How φ is distributed over relations.",
    "landscape": "φ of every mechanism over every purview; white is 0, grey are purviews that are "
    "not connected with the mechanism, squares are distinctions, dots were excluded by a bound.",
    "complexes": "φ of complexes by their number of units; complexes of one size are side by side.",
    "account": "Units before (above) and after (below), and the actual causes and effects between "
    "them; width grows with the causal strength.",
    "sweep": "A number of a sweep along its axes; axes that are not drawn are held or averaged.",
}
"""What each figure shows."""


def static(
    result: Result,
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    caption: bool | str = True,
    width: float | None = None,
    **options: Any,
) -> Any:
    """Draw a figure for a paper with matplotlib: PNG, SVG or PDF, without a browser.

    Parameters
    ----------
    result : Dataset or DataTree
        Any result that the figure can be drawn of.
    name : str
        Name of the figure: a function of this module, but for ``explorer``.
    path : str or path, optional
        File to write; its ending says how: ``.png``, ``.svg`` or ``.pdf``.
    caption : bool or str
        Whether a caption stands below the figure; a text is taken in place of the one that says
        what the figure shows, of which system, whom to cite and what computed it. Files keep the
        caption among their metadata in any case.
    width : float, optional
        Width of the figure, inches; letters and lines shrink with it.
    **options
        Options of the function, such as ``x`` and ``y`` of ``sweep``.

    Returns
    -------
    matplotlib.figure.Figure
        To be changed further; shows itself in a notebook.

    Raises
    ------
    InputError
        There is no such figure, the result lacks what it shows, the ending is another one, or
        matplotlib is not installed (``pip install 'iitdask[figures]'``).

    Examples
    --------
    >>> import iitdask as iit
    >>> tree = iit.ces(iit.examples.load("xor"), "000")
    >>> figure = iit.plot.static(tree, "network", width=3.5)
    >>> float(figure.get_figwidth())
    3.5
    """
    if name not in CAPTIONS:
        raise InputError(f"plot.static: expected one of {', '.join(CAPTIONS)}, got {quote(name)}")
    draw: Callable[..., figure] = globals()[name]
    text = caption if isinstance(caption, str) else _caption(result, name)
    drawn = draw(result, **options)
    made = static_figures.matplotlib_figure(drawn, text if caption else "", width)
    made._repr_html_ = lambda: static_figures.svg_text(made, text)
    if path is not None:
        static_figures.save(made, path, text)
    return made


def _caption(result: Result, name: str) -> str:
    """Say what a figure shows, of what, whom to cite, and what computed it."""
    tree = as_tree(result)
    subject, citation = source_of(tree)
    version = next(
        (str(node.attrs[k]) for node in tree.subtree if (k := VERSION) in node.attrs), ""
    )
    parts = [CAPTIONS[name], f"{title_of(tree)}." if title_of(tree) else ""]
    parts += [f"{subject}." if subject else "", citation and f"Source: {citation}."]
    parts.append(f"Computed with iitdask {version}.".replace(" .", "."))
    return " ".join(filter(None, parts))


def explorer(result: Result) -> Page:
    """Return the page of linked figures.

    Parameters
    ----------
    result : Dataset or DataTree
        Any result.

    Returns
    -------
    Page
        Shows itself in a notebook; ``save(path)`` writes it to a file.
    """
    return Page(explorer_html(as_tree(result)))


def _require_node(result: Result, node: str) -> xr.DataTree:
    tree = as_tree(result)
    if node not in tree.children:
        nodes = ", ".join(tree.children) or "none"
        raise InputError(f"plot: expected a result with a node {node!r}, got nodes {nodes}")
    return tree


def _distinctions(result: Result) -> tuple[ColumnDataSource, str]:
    """Return the source of distinctions, and the unit of their phi."""
    tree = _require_node(result, "distinctions")
    data = tree["distinctions"].to_dataset()
    source = structure_figures.distinctions_source(data, known_labels(tree))
    return source, " (bits)" if "state_cause" in data else ""
