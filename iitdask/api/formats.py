"""Networks and results in the forms of other programs: matrices, graphs, animats, PyPhi."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, SubstrateError
from iitdask.model.animats import Animat
from iitdask.model.animats import read_animats as animats_in
from iitdask.model.documents import path_text, read_document
from iitdask.model.graphs import (
    graph_attributes,
    make_graph,
    read_graph,
    substrate_from_graph,
    write_graph,
)
from iitdask.model.pyphi import state_by_node as node_table
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.model.system import factor_rows
from iitdask.result.cube import replaced_file
from iitdask.result.pyphi_results import pyphi_tree

__all__ = [
    "Animat",
    "from_networkx",
    "read_animats",
    "read_graphml",
    "read_pyphi_result",
    "state_by_node",
    "state_by_state",
    "to_networkx",
    "write_graphml",
]

MAX_MATRIX_STATES = 4096  # Of a state-by-state matrix


def state_by_node(substrate: Substrate) -> Any:
    """Return the state-by-node matrix of binary units.

    Parameters
    ----------
    substrate : Substrate
        At most 20 units.

    Returns
    -------
    ndarray, (2^N, N)
        P(unit on at t+1 | state), states little-endian: what :meth:`Substrate.from_tpm` takes.

    Raises
    ------
    SubstrateError
        A unit has more than two values, or there are more than 20 units.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.formats.state_by_node(iit.examples.load("xor")).shape
    (8, 3)
    """
    substrate = require_substrate(substrate)
    table = node_table(substrate.factors, substrate.levels)
    return table.reshape(-1, substrate.n_units, order="F")


def state_by_state(substrate: Substrate) -> Any:
    """Return the state-by-state matrix.

    Parameters
    ----------
    substrate : Substrate
        At most 4,096 states.

    Returns
    -------
    ndarray, (S, S)
        P(next state | state), both little-endian: what :meth:`Substrate.from_tpm` takes of binary
        units, and :meth:`Substrate.nearest_product` of any.

    Raises
    ------
    SubstrateError
        There are more states.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.formats.state_by_state(iit.examples.load("xor")).sum(axis=1).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    substrate = require_substrate(substrate)
    levels = substrate.levels
    size = int(np.prod(levels, dtype=object))
    if size > MAX_MATRIX_STATES:
        raise SubstrateError(
            f"state_by_state: expected at most {MAX_MATRIX_STATES} states, got {size}"
        )
    everyone = {unit: unit for unit in range(len(levels))}
    out = np.ones((size, 1))
    for factor in substrate.factors:  # later units vary slower
        rows = factor_rows(factor, everyone, levels)
        out = (rows[:, :, None] * out[:, None, :]).reshape(size, -1)
    return out


def from_networkx(
    graph: Any,
    *,
    gate: str | None = None,
    activation: str | None = None,
    weight: str = "weight",
    where: str = "graph",
) -> Substrate:
    """Build a substrate from a graph of networkx; networkx itself is not needed.

    Parameters
    ----------
    graph : Graph or DiGraph
        Nodes are units, edges lead from inputs to the units they feed, in both directions where
        the graph is undirected. A node may have a ``gate`` with its parameters, or a ``table``
        ``[x_in0, x_in1, ..., value]`` over its ``inputs``, names of nodes in order.
    gate : str, optional
        Gate of the nodes that have neither.
    activation : str, optional
        Take edges as weights instead, see :meth:`Substrate.from_weights`.
    weight : str
        Attribute of edges that is their weight; 1 where an edge has none.
    where : str
        What to call the graph in messages.

    Returns
    -------
    Substrate
        Its units in the order of nodes, called as they are or by their ``label``.

    Raises
    ------
    SubstrateError
        It is no such graph, or a node has neither gate nor table.

    Examples
    --------
    >>> import iitdask as iit
    >>> graph = iit.formats.to_networkx(iit.examples.load("basic"))
    >>> iit.formats.from_networkx(graph) == iit.examples.load("basic")
    True
    """
    return substrate_from_graph(graph, gate, activation, weight, where)


def to_networkx(substrate: Substrate) -> Any:
    """Return a directed graph of networkx whose nodes hold the tables of the units.

    Parameters
    ----------
    substrate : Substrate
        The network.

    Returns
    -------
    networkx.DiGraph
        What :func:`from_networkx` makes an equal substrate of; nodes are called by the labels and
        have ``levels``, ``table`` and ``inputs``.

    Raises
    ------
    InputError
        networkx is not installed, or a table is too large.

    Examples
    --------
    >>> import iitdask as iit
    >>> graph = iit.formats.to_networkx(iit.examples.load("xor"))
    >>> sorted(graph.nodes), graph.number_of_edges()
    (['A', 'B', 'C'], 6)
    """
    nodes, edges = graph_attributes(require_substrate(substrate), as_text=False)
    return make_graph(nodes, edges)


def read_graphml(
    path: Any, *, gate: str | None = None, activation: str | None = None, weight: str = "weight"
) -> Substrate:
    """Build a substrate from a file of GraphML, read with networkx.

    Parameters
    ----------
    path : str or path
        The file. Lists (``table``, ``inputs``, ``weights``) are JSON text.
    gate, activation, weight
        As for :func:`from_networkx`.

    Returns
    -------
    Substrate
        As for :func:`from_networkx`.

    Raises
    ------
    SubstrateError
        The file cannot be read, or is no graph of units.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.formats.read_graphml("none.graphml")
    Traceback (most recent call last):
    iitdask.errors.SubstrateError: none.graphml: expected a readable file: No such file or directory
    """
    name = path_text(path, "read_graphml: expected the path of a file", SubstrateError)
    graph = read_graph(name)
    return from_networkx(graph, gate=gate, activation=activation, weight=weight, where=name)


def write_graphml(substrate: Substrate, path: Any) -> Path:
    """Write a substrate as GraphML, with its tables as JSON text.

    Parameters
    ----------
    substrate : Substrate
        The network.
    path : str or path
        The file; :func:`read_graphml` makes an equal substrate of it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        networkx is not installed, a table is too large, or the file cannot be written.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.formats.write_graphml(iit.examples.load("xor"), "none/a")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    iitdask.errors.InputError: expected a file that can be written, got 'none/a': No such file...
    """
    target = Path(path_text(path, "write_graphml: expected the path of a file"))
    nodes, edges = graph_attributes(require_substrate(substrate), as_text=True)
    with replaced_file(target) as partial:
        write_graph(make_graph(nodes, edges), partial)
    return target


def read_animats(folder: Any, labels: Sequence[str] | None = None) -> tuple[Animat, ...]:
    """Return the animats along lines of descent: their networks and lives.

    Parameters
    ----------
    folder : str or path
        Holds ``RUN_BORN_FullLogicTable.txt``, ``RUN_BORN_LifetimeLogicTable.txt`` and
        ``RUN_BORN_EdgeList.txt``, any of them for each animat, as the programs of animats write
        them.
    labels : sequence of str, optional
        Names of the units. Default: A, B, ...

    Returns
    -------
    tuple of Animat
        By run and generation: ``run``, ``born``, ``substrate`` (None without its full table; its
        connections are those of the edge list, or inferred), ``before`` and ``after``, states
        (T, N) along its life, and ``recordings()`` of it for :meth:`Substrate.from_series`.
        Sensors are set by the environment: in the network they have no inputs of their own.

    Raises
    ------
    SubstrateError
        There is no such file, or one cannot be read; it names file and line.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.formats.read_animats("none")
    Traceback (most recent call last):
    iitdask.errors.SubstrateError: none: expected a folder of animats
    """
    return animats_in(folder, labels)


def read_pyphi_result(path: Any) -> xr.DataTree:
    """Read a result that PyPhi wrote as JSON.

    Parameters
    ----------
    path : str or path
        A file that ``pyphi.jsonify.dump`` wrote: an analysis of a system, a structure, or any
        other object.

    Returns
    -------
    DataTree
        ``/pyphi``: the object with all it holds, nodes and variables named by its attributes;
        ``/system``: its own numbers; ``/distinctions``, where it has causes and effects: ``phi``,
        ``phi_cause``, ``phi_effect``, ``purview_cause`` and ``purview_effect`` by ``mechanism``,
        as :func:`iitdask.ces` has them, so that :func:`iitdask.compare` takes both.

    Raises
    ------
    InputError
        The file cannot be read, or holds no such object.

    Examples
    --------
    >>> import iitdask as iit
    >>> iit.formats.read_pyphi_result("sia.txt")
    Traceback (most recent call last):
    iitdask.errors.InputError: sia.txt: expected a file ending in .json
    """
    name = path_text(path, "read_pyphi_result: expected the path of a file")
    place = Path(name)
    if place.suffix.lower() != ".json":
        raise InputError(f"{name}: expected a file ending in .json")
    return pyphi_tree(read_document(place, InputError), name)
