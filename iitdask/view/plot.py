"""Figures of results, one by one: ``iit.plot``. Each returns a Bokeh figure that shows itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import xarray as xr
from bokeh.embed import file_html
from bokeh.models import ColumnDataSource, LayoutDOM
from bokeh.plotting import figure
from bokeh.resources import INLINE

from iitdask.errors import InputError, quote
from iitdask.result.formatting import known_labels
from iitdask.result.overview import source_of, title_of
from iitdask.theory.iit4.repertoires import MAX_SHOWN_DISTINCTIONS
from iitdask.view import (
    account_figures,
    grain_figures,
    lattice_figures,
    network_figures,
    pages,
    relation_figures,
    static_figures,
    structure_figures,
    sweep_figures,
    transition_figures,
)
from iitdask.view.accessor import Page, as_tree
from iitdask.view.explorer import explorer_html

__all__ = [
    "account",
    "by_order",
    "complexes",
    "explorer",
    "folds",
    "grains",
    "landscape",
    "lattice",
    "network",
    "pairs",
    "parallel",
    "plane",
    "relations",
    "relations_by_degree",
    "relations_by_phi",
    "static",
    "sweep",
    "transition_table",
    "transitions",
]

VERSION = "iitdask_version"  # Attribute of a result that says what computed it
Result = xr.Dataset | xr.DataTree
_Plot = TypeVar("_Plot", bound=LayoutDOM)
_Arguments = ParamSpec("_Arguments")


def _showing_itself(draw: Callable[_Arguments, _Plot]) -> Callable[_Arguments, _Plot]:
    """Let a notebook show what a function draws, without a call that loads BokehJS before it."""

    @wraps(draw)
    def drawn(*args: _Arguments.args, **options: _Arguments.kwargs) -> _Plot:
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
        A cause-effect structure, or the mechanisms found so far of one that is not finished.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        One dot per distinction; of more than 2,048 those of the largest phi, as the title says.
    """
    drawn = _drawn(result)
    return structure_figures.by_order(drawn.source, size, drawn.unit, drawn.shown)


@_showing_itself
def plane(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw phi of every distinction's cause against phi of its effect.

    Parameters
    ----------
    result : Dataset or DataTree
        A cause-effect structure, or the mechanisms found so far of one that is not finished.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        One dot per distinction; of more than 2,048 those of the largest phi, as the title says.
    """
    drawn = _drawn(result)
    return structure_figures.plane(drawn.source, size, drawn.unit, drawn.shown)


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
    tree = structure_figures.largest_distinctions(tree, relation_figures.named_in(largest))
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
        A result with a node ``/landscape``: ``iitdask.open(STORE, figures=True)``.
    side : {"cause", "effect"}
        Side of the purviews.
    size : int
        Width and height, pixels.

    Returns
    -------
    figure
        Map of phi, mechanisms downwards, purviews across.
    """
    _require_side("landscape", side)
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


@_showing_itself
def folds(result: Result, size: tuple[int, int] = (760, 300)) -> figure:
    """Draw what each distinction contributes to Phi: its own phi and its part of relations.

    Parameters
    ----------
    result : DataTree
        A cause-effect structure of IIT 4.0.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        Bars of the 60 largest folds, the largest first.

    Raises
    ------
    InputError
        The structure has no folds, or they are beyond what a number holds.
    """
    tree = _require_node(result, "distinctions")
    if "fold" not in tree["distinctions"]:
        raise InputError(
            "plot.folds: expected a structure of IIT 4.0, whose distinctions have folds"
        )
    tree, source = _drawn(tree)[:2]
    if not lattice_figures.has_finite_folds(tree, source):
        raise InputError(
            "plot.folds: these folds are beyond what a number holds; log2_fold has their logarithms"
        )
    return lattice_figures.draw_folds(source, size)


@_showing_itself
def lattice(result: Result, kind: str = "mechanism", size: tuple[int, int] = (420, 400)) -> figure:
    """Draw mechanisms or purviews by inclusion, as a Hasse diagram.

    Parameters
    ----------
    result : DataTree
        A cause-effect structure.
    kind : {"mechanism", "cause", "effect"}
        Mechanisms, cause purviews or effect purviews.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        Sets of units, small ones below; a dot for every distinction.

    Raises
    ------
    InputError
        The sets are too many: of at most six units all are drawn, else at most 64 that occur.
    """
    if kind not in lattice_figures.LATTICES:
        known = ", ".join(lattice_figures.LATTICES)
        raise InputError(f"plot.lattice: expected kind to be one of {known}, got {quote(kind)}")
    tree = _require_node(result, "distinctions")
    few, source = _drawn(tree)[:2]
    drawn = lattice_figures.draw_lattice(few, kind, source, size) if few is tree else None
    if drawn is None:
        raise InputError(
            f"plot.lattice: expected at most {lattice_figures.MAX_SETS} different sets of units of "
            f"{lattice_figures.LATTICE_MAX_UNITS + 1} units or more, of at most "
            f"{MAX_SHOWN_DISTINCTIONS:,} distinctions"
        )
    return drawn


@_showing_itself
def pairs(result: Result, side: str = "cause", size: tuple[int, int] = (520, 540)) -> figure:
    """Draw the matrix of how the purviews of every two distinctions lie to one another.

    Parameters
    ----------
    result : DataTree
        A cause-effect structure.
    side : {"cause", "effect"}
        Side of the purviews.
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    figure
        The 150 distinctions of the largest phi at most, each against each.
    """
    _require_side("pairs", side)
    tree, source = _drawn(_require_node(result, "distinctions"))[:2]
    data, cross = tree["distinctions"].to_dataset(), ColumnDataSource({"place": []})
    return lattice_figures.draw_pairs(data, side, source, cross, size)


@_showing_itself
def transitions(result: Result, size: int = 420) -> figure:
    """Draw the states of a substrate and the transitions between them.

    Parameters
    ----------
    result : DataTree
        A result with a node ``/transitions``: ``iitdask.open(STORE, figures=True)`` of a
        substrate of at most 64 states.
    size : int
        Width and height, pixels.

    Returns
    -------
    figure
        States on a circle, the current one yellow; arrows are the darker the more probable.
    """
    states, chance = transition_figures.states_source(_require_node(result, "transitions"))
    return transition_figures.draw_transitions(states, chance, size)


@_showing_itself
def transition_table(result: Result, size: tuple[int, int] | None = None) -> figure:
    """Draw the probabilities of a substrate: of every value of a unit after every state.

    Parameters
    ----------
    result : DataTree
        A result with a node ``/transitions``: ``iitdask.open(STORE, figures=True)`` of a
        substrate of at most 64 states.
    size : tuple of int, optional
        Width and height, pixels; as high as the states need when not given.

    Returns
    -------
    figure
        A row for each state, the current one marked.
    """
    tree = _require_node(result, "transitions")
    states, _ = transition_figures.states_source(tree)
    return transition_figures.draw_table(tree["transitions"].to_dataset(), states, size)


@_showing_itself
def grains(result: Result, width: int = 620) -> figure:
    """Draw the largest phi_s of each choice of micro constituents.

    Parameters
    ----------
    result : DataTree
        What ``iitdask.grains`` returned.
    width : int
        Pixels.

    Returns
    -------
    figure
        Bars; dark ones hold a complex, grey ones are of micro units alone.
    """
    return grain_figures.draw_bars(_require_node(result, "systems"), width)


sweep = _showing_itself(sweep_figures.sweep)
parallel = _showing_itself(sweep_figures.parallel)


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
    "folds": "What each distinction contributes to Φ: its own φ (dark) and its part of the "
    "relations it is in; together all folds are Φ.",
    "lattice": "Sets of units by inclusion: lines lead to the sets with one unit more, or to the "
    "next that occur; filled dots are distinctions.",
    "pairs": "How the purviews of every two distinctions lie to one another; empty cells have no "
    "unit in common.",
    "transitions": "States of the substrate, the current one yellow; arrows are the darker the "
    "more probable the transition, rings are states that stay.",
    "transition_table": "Probability of each value of a unit after each state of the substrate; "
    "the square marks the current state.",
    "grains": "The largest φ_s of each choice of micro constituents; dark bars hold a complex, "
    "grey ones are of micro units alone.",
    "parallel": "Every point of a sweep is a line through its values on all axes; height on the "
    "last axis and colour are its number.",
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


def _require_side(name: str, side: str) -> None:
    if side not in pages.SIDES:
        raise InputError(f"plot.{name}: expected side to be cause or effect, got {quote(side)}")


def _require_node(result: Result, node: str) -> xr.DataTree:
    tree = as_tree(result)
    if node not in tree.children:
        nodes = ", ".join(tree.children) or "none"
        raise InputError(f"plot: expected a result with a node {node!r}, got nodes {nodes}")
    return tree


class _Drawn(NamedTuple):
    """The distinctions of a structure that are drawn."""

    tree: xr.DataTree  # With no others
    source: ColumnDataSource
    unit: str  # Of their phi
    shown: str  # Which they are, "" if all


def _drawn(result: Result) -> _Drawn:
    """Return the largest distinctions, or the largest found so far of an unfinished structure."""
    tree = as_tree(result)
    is_partial = "mechanisms" in tree.children
    tree = tree if is_partial else _require_node(tree, "distinctions")
    few = structure_figures.largest_distinctions(tree)
    shown = structure_figures.drawn_text(tree, few)
    data = few["mechanisms" if is_partial else "distinctions"].to_dataset()
    source = structure_figures.distinctions_source(data, known_labels(tree))
    unit = " (bits)" if is_partial or "state_cause" in data else ""
    return _Drawn(few, source, unit, shown)
