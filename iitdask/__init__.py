"""iitdask: a distributed engine for integrated information theory.

Describe a network of units, a state and a candidate system; iitdask computes
how irreducible the system is and its cause-effect structure, exactly, in blocks
that run in this process or on any Dask cluster and are kept in a Zarr store.

Names are bound when they are first used, so that importing costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iitdask import errors
    from iitdask.api import formats
    from iitdask.api.grains import grains, macro_tables, unit
    from iitdask.api.perceivers import matching, perception
    from iitdask.api.queries import mechanism, partition, repertoire
    from iitdask.api.studies import compare, dynamics, estimate, explain, search, sweep
    from iitdask.api.studies import open_result as open
    from iitdask.api.systems import ces, complexes, sia
    from iitdask.api.transitions import account, causal_nexus, true_events
    from iitdask.model import examples
    from iitdask.model.readers import load
    from iitdask.model.substrate import Substrate
    from iitdask.result import relation_iteration as relations
    from iitdask.theory.options import IIT3, IIT4, IIT42026
    from iitdask.view import plot

    __version__: str

__all__ = [
    "IIT3",
    "IIT4",
    "IIT42026",
    "Substrate",
    "__version__",
    "account",
    "causal_nexus",
    "ces",
    "compare",
    "complexes",
    "dynamics",
    "errors",
    "estimate",
    "examples",
    "explain",
    "formats",
    "grains",
    "load",
    "macro_tables",
    "matching",
    "mechanism",
    "open",
    "partition",
    "perception",
    "plot",
    "relations",
    "repertoire",
    "search",
    "sia",
    "sweep",
    "true_events",
    "unit",
]

_MODULES = {  # public module: its place
    "errors": "iitdask.errors",
    "examples": "iitdask.model.examples",
    "formats": "iitdask.api.formats",
    "plot": "iitdask.view.plot",
    "relations": "iitdask.result.relation_iteration",
}
_NAMES = {"open": "open_result"}  # public name: its name in its module
_PLACES = {  # module of every other name
    **dict.fromkeys(("ces", "complexes", "sia"), "iitdask.api.systems"),
    **dict.fromkeys(("account", "causal_nexus", "true_events"), "iitdask.api.transitions"),
    **dict.fromkeys(
        ("compare", "dynamics", "estimate", "explain", "open", "search", "sweep"),
        "iitdask.api.studies",
    ),
    **dict.fromkeys(("grains", "macro_tables", "unit"), "iitdask.api.grains"),
    **dict.fromkeys(("mechanism", "partition", "repertoire"), "iitdask.api.queries"),
    **dict.fromkeys(("matching", "perception"), "iitdask.api.perceivers"),
    **dict.fromkeys(("IIT3", "IIT4", "IIT42026"), "iitdask.theory.options"),
    "Substrate": "iitdask.model.substrate",
    "load": "iitdask.model.readers",
}


_PYPHI_NAMES = {  # what stands for names that people bring along
    "Network": "iitdask.Substrate.from_tpm(tpm, connectivity=cm, labels=...)",
    "Subsystem": "the arguments (substrate, state, units=...) of each call",
    "Transition": "iitdask.account(substrate, before, after)",
    "actual": "iitdask.account(substrate, before, after)",
    "compute": "iitdask.sia, iitdask.ces and iitdask.complexes",
    "config": "the argument theory={'name': ..., OPTION: ...} of each call",
    "new_big_phi": "iitdask.sia and iitdask.ces",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        hint = f"; it is {_PYPHI_NAMES[name]} here" if name in _PYPHI_NAMES else ""
        raise AttributeError(f"module 'iitdask' has no attribute {name!r}{hint}")
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name == "__version__":
        return import_module("iitdask.run.checksum").package_version()
    return getattr(import_module(_PLACES[name]), _NAMES.get(name, name))


def __dir__() -> list[str]:
    return list(__all__)
