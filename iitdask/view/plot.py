"""Figures of results, one by one: ``iit.plot``. Each returns a Bokeh figure."""

from __future__ import annotations

from typing import Any

import xarray as xr
from bokeh.plotting import figure

from iitdask.errors import InputError
from iitdask.view import (
    account_figures,
    complexes_figures,
    network_figures,
    relation_figures,
    structure_figures,
)
from iitdask.view.accessor import Page, as_tree
from iitdask.view.explorer import explorer_html
from iitdask.view.sweep_figures import sweep

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
    "sweep",
]

Result = xr.Dataset | xr.DataTree


def network(result: Result, size: int = 420) -> figure:
    """Draw a candidate system with its state and the connections its minimum partition severs.

    Parameters
    ----------
    result : Dataset or DataTree
        What ``iitdask.sia`` or ``iitdask.ces`` returned.
    size : int
        Pixels.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.plot.network(iit.sia(iit.examples.load("xor"), "000")).title.text
    'ABC in state 000'
    """
    tree = _require_node(result, "system")
    about = tree["system"].attrs
    net = network_figures.NetworkDrawing.from_system(
        tree["system"].to_dataset(), _node_or_none(tree, "network")
    )
    return network_figures.draw_network(
        net, f"{about.get('units')} in state {about.get('state')}", size
    )[0]


def by_order(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw phi of every distinction against the number of units in its mechanism."""
    data = _require_node(result, "distinctions")["distinctions"].to_dataset()
    return structure_figures.by_order(
        structure_figures.distinctions_source(data), size, _phi_unit(data)
    )


def plane(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw phi of every distinction's cause against phi of its effect."""
    data = _require_node(result, "distinctions")["distinctions"].to_dataset()
    return structure_figures.plane(
        structure_figures.distinctions_source(data), size, _phi_unit(data)
    )


def relations(result: Result, size: int = 420) -> figure:
    """Draw the largest relations as linked purviews; the title says how many."""
    tree = _require_node(result, "relations")
    return relation_figures.draw_relations(
        relation_figures.largest_relations(tree), tree["distinctions"].to_dataset(), size
    )[0]


def relations_by_degree(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw log2 of the number of relations by degree."""
    return relation_figures.relations_by_degree(
        _require_node(result, "relations")["relations"].to_dataset(), size
    )


def relations_by_phi(result: Result, size: tuple[int, int] = (420, 330)) -> figure:
    """Draw the distribution of phi over relations, the largest ones where there are too many."""
    return relation_figures.relations_by_phi(
        relation_figures.largest_relations(_require_node(result, "relations")), size
    )


def landscape(result: Result, side: str = "cause", size: int = 470) -> figure:
    """Draw phi over mechanism and purview from an exhibit.

    Parameters
    ----------
    result : DataTree
        A result with a node ``/landscape``, as the explorer of a store has it.
    side : {"cause", "effect"}
        Which of the two.
    size : int
        Pixels.
    """
    tree = _require_node(result, "landscape")
    data = tree["distinctions"].to_dataset()
    source = structure_figures.distinctions_source(data)
    structure_figures.add_map_positions(source, data)
    labels = [str(name) for name in data["unit"].values]
    return structure_figures.landscape(tree["landscape"].to_dataset(), labels, side, source, size)


def complexes(result: Result, size: tuple[int, int] = (480, 330)) -> figure:
    """Draw phi_s of complexes against their size; the explorer has the network coloured by them."""
    data = _require_node(result, "complexes")["complexes"].to_dataset()
    return complexes_figures.by_size(
        complexes_figures.complexes_source(data), size, complexes_figures.phi_name(data)
    )


def account(result: Result, size: tuple[int, int] = (640, 420)) -> figure:
    """Draw an account: the units before and after, and the links between them."""
    tree = _require_node(result, "links")
    return account_figures.draw_links(tree, account_figures.links_source(tree), size)


def explorer(result: Result) -> Page:
    """Make the page of linked figures; it shows itself in a notebook and can be saved."""
    return Page(explorer_html(as_tree(result)))


def _require_node(result: Result, node: str) -> xr.DataTree:
    tree = as_tree(result)
    if node not in tree.children:
        there = ", ".join(tree.children) or "none"
        raise InputError(f"plot: expected a result with a node {node!r}, got nodes {there}")
    return tree


def _node_or_none(tree: xr.DataTree, node: str) -> xr.Dataset | None:
    return tree[node].to_dataset() if node in tree.children else None


def _phi_unit(data: Any) -> str:
    return " (bits)" if "state_cause" in data else ""
