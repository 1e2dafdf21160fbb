"""The result of a store with what can be looked at beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from iitdask.errors import InputError, StoreError
from iitdask.model.system import System
from iitdask.result.labels import text
from iitdask.run.outcome import load_result
from iitdask.study.keep import kept_point
from iitdask.theory.landscape import MOST_UNITS, landscape
from iitdask.theory.repertoires import repertoires
from iitdask.theory.vocabulary import described

if TYPE_CHECKING:
    from iitdask.study.spec import Point

__all__ = ["exhibit"]


def exhibit(url: str) -> xr.DataTree:
    """Load a result and add what its substrate tells about it.

    Parameters
    ----------
    url : str
        Address of a finished store.

    Returns
    -------
    DataTree
        The result, with ``/network`` (all units of the substrate and their connections), and
        for a cause-effect structure ``/repertoires`` and, where the system is small enough,
        ``/landscape``. Nothing is added where the store's substrate cannot be read.

    Raises
    ------
    StoreError
        The run has not finished, or its result is damaged.
    """
    tree = load_result(url)
    try:
        point = kept_point(url)
    except (StoreError, InputError):  # damaged, or that of a sweep, which has many
        return tree
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    nodes["/network"] = _network(point)
    system = point.subject
    if isinstance(system, System) and "state_cause" in nodes.get("/distinctions", ()):
        nodes["/repertoires"] = repertoires(system, nodes["/distinctions"])
        if system.n <= MOST_UNITS:
            nodes["/landscape"] = landscape(system)
    return xr.DataTree.from_dict(nodes)


def _network(point: Point) -> xr.Dataset:
    substrate, subject = point.subject.substrate, point.subject
    units = getattr(subject, "units", range(substrate.n_units))
    inside = np.isin(np.arange(substrate.n_units), list(units))
    state = getattr(subject, "state", None)
    names = text(substrate.labels)
    values = {
        "connectivity": (("source", "target"), np.array(substrate.connectivity)),
        "levels": (("unit",), np.array(substrate.levels)),
        "inside": (("unit",), inside),
        "current_state": (
            ("unit",),
            np.full(substrate.n_units, -1) if state is None else np.array(state),
        ),
    }
    return described(values).assign_coords(unit=names, source=names, target=names)
