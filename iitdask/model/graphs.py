"""Substrates as graphs of networkx: connections with weights, units with gates or tables.

A node that has a ``gate`` is a unit of that gate, with its other attributes as parameters; one with
a ``table`` has probabilities ``[x_in0, x_in1, ..., value]`` over its ``inputs``, names of nodes in
order. A gate reads the nodes with an edge to it, in the order of nodes. GraphML has no lists: there
they are JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import InputError, SubstrateError, quote
from iitdask.model.substrate import Substrate

TABLE_KEYS = ("table", "inputs")
LIST_KEYS = (*TABLE_KEYS, "weights", "values")  # Attributes that GraphML has as JSON text
IGNORED = ("label", "levels")  # What a graph says of a unit beside
MAX_TABLE_ENTRIES = 1 << 20  # Of one unit, written into a graph


def substrate_from_graph(
    graph: Any, gate: str | None, activation: str | None, weight: str, where: str
) -> Substrate:
    """Return the substrate of a graph, see :func:`iitdask.formats.from_networkx`."""
    nodes, edges = _parts(graph, where)
    names = [_label(node, about, where) for node, about in nodes.items()]
    numbers = {node: number for number, node in enumerate(nodes)}
    if activation is not None:
        weights = np.zeros((len(names), len(names)))
        for source, target, about in edges:
            weights[numbers[source], numbers[target]] = _weight(about, weight, where)
        return Substrate.from_weights(weights, activation, labels=names, where=where)
    joined = np.zeros((len(names), len(names)), np.bool_)
    for source, target, _ in edges:
        joined[numbers[source], numbers[target]] = True
    known = {str(node): number for node, number in numbers.items()}
    known |= {name: number for number, name in enumerate(names)}
    factors = []
    for number, (node, about) in enumerate(nodes.items()):
        place = f"{where}: node {quote(node)}"
        own = {key: _value(value, key, place) for key, value in about.items() if key not in IGNORED}
        inputs = np.flatnonzero(joined[:, number]).tolist()
        if "table" in own:
            sources = _inputs(own.get("inputs"), inputs, known, place)
            factors.append((sources, own["table"]))
        else:
            factors.append(_gate({"gate": gate, **own}, inputs, names, place))
    return Substrate.from_factors(factors, joined, names, where=where)


def _parts(graph: Any, where: str) -> tuple[dict[Any, dict[str, Any]], list[Any]]:
    """Return nodes with their attributes, and directed edges with theirs."""
    if not all(callable(getattr(graph, name, None)) for name in ("is_directed", "is_multigraph")):
        raise SubstrateError(f"{where}: expected a graph of networkx, got {quote(graph)}")
    if graph.is_multigraph():
        raise SubstrateError(f"{where}: expected at most one edge from a node to another")
    nodes = {node: dict(about) for node, about in graph.nodes(data=True)}
    if not nodes:
        raise SubstrateError(f"{where}: expected a graph with nodes, got none")
    edges = [(source, target, dict(about)) for source, target, about in graph.edges(data=True)]
    if not graph.is_directed():
        edges += [(target, source, about) for source, target, about in edges if source != target]
    return nodes, edges


def _label(node: Any, about: Mapping[str, Any], where: str) -> str:
    label = about.get("label", node)
    if not isinstance(label, str | int) or isinstance(label, bool) or not str(label):
        raise SubstrateError(f"{where}: expected names of nodes, got {quote(label)}")
    return str(label)


def _weight(about: Mapping[str, Any], weight: str, where: str) -> float:
    value = about.get(weight, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise SubstrateError(
            f"{where}: {weight}: expected a number on each edge, got {quote(value)}"
        )
    return float(value)


def _value(value: Any, key: str, where: str) -> Any:
    """Return the value of an attribute; text of JSON, where a list is meant, is read."""
    if key not in LIST_KEYS or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise SubstrateError(f"{where}: {key}: expected JSON, got {quote(value)}") from error


def _inputs(given: Any, inputs: list[int], known: Mapping[str, int], where: str) -> list[int]:
    """Return the numbers of the nodes that a table reads, in order; None: those with an edge."""
    if given is None:
        return inputs
    if not isinstance(given, list | tuple) or any(str(each) not in known for each in given):
        raise SubstrateError(f"{where}: inputs: expected names of nodes, got {quote(given)}")
    sources = [known[str(each)] for each in given]
    missing = [str(each) for each in given if known[str(each)] not in inputs]
    if missing:
        raise SubstrateError(f"{where}: inputs: expected an edge from {missing[0]}")
    return sources


def _gate(
    unit: Mapping[str, Any], inputs: list[int], names: list[str], where: str
) -> tuple[Any, Any]:
    """Return (inputs, table) of a gate, whatever the other units are."""
    if unit["gate"] is None:
        raise SubstrateError(f"{where}: expected a gate or a table, got neither")
    others = [{"gate": "BIAS", "probability": 0.5} for _ in names]
    units = [{**unit, "inputs": inputs}, *others[1:]]
    made = Substrate.from_units(units, labels=names, where=where).factors[0]
    return made.parents, made.table


def graph_attributes(substrate: Substrate, *, as_text: bool) -> tuple[list[Any], list[Any]]:
    """Return nodes and edges of a graph, each with its attributes."""
    nodes: list[Any] = []
    for label, factor, levels in zip(
        substrate.labels, substrate.factors, substrate.levels, strict=True
    ):
        if factor.table.size > MAX_TABLE_ENTRIES:
            raise SubstrateError(
                f"to_networkx: unit {label!r}: a table of {factor.table.size} numbers is too large"
            )
        inputs = [substrate.labels[parent] for parent in factor.parents]
        about: dict[str, Any] = {"table": factor.table.tolist(), "inputs": inputs}
        if as_text:
            about = {key: json.dumps(value) for key, value in about.items()}
        nodes.append((label, {"levels": int(levels), **about}))
    sources, targets = np.nonzero(substrate.connectivity)
    pairs = zip(sources.tolist(), targets.tolist(), strict=True)
    return nodes, [(substrate.labels[i], substrate.labels[j]) for i, j in pairs]


def networkx_module() -> Any:
    """Return networkx, which need not be installed."""
    if find_spec("networkx") is None:
        raise InputError("networkx: expected it to be installed; pip install 'iitdask[networkx]'")
    return import_module("networkx")


def make_graph(nodes: list[Any], edges: list[Any]) -> Any:
    """Return a directed graph of networkx."""
    graph = networkx_module().DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


def read_graph(name: str) -> Any:
    """Return the graph in a file of GraphML."""
    networkx = networkx_module()
    try:
        return networkx.read_graphml(name)
    except OSError as error:
        reason = error.strerror or error
        raise SubstrateError(f"{name}: expected a readable file: {reason}") from error
    except (SyntaxError, ValueError, LookupError, networkx.NetworkXError) as error:
        reason = " ".join(str(error).split())
        raise SubstrateError(f"{name}: expected GraphML: {reason}") from error


def write_graph(graph: Any, path: Path) -> None:
    """Write a graph as GraphML."""
    networkx_module().write_graphml(graph, path)
