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
    from iitdask import errors as errors
    from iitdask.accounts import account as account
    from iitdask.accounts import causal_nexus as causal_nexus
    from iitdask.accounts import true_events as true_events
    from iitdask.doors import ces as ces
    from iitdask.doors import complexes as complexes
    from iitdask.doors import estimate as estimate
    from iitdask.doors import sia as sia
    from iitdask.model import examples as examples
    from iitdask.model.readers import load as load
    from iitdask.model.substrate import Substrate as Substrate
    from iitdask.result import relations as relations
    from iitdask.sweeps import sweep as sweep
    from iitdask.theory.options import IIT3 as IIT3
    from iitdask.theory.options import IIT4 as IIT4
    from iitdask.theory.options import IIT42026 as IIT42026
    from iitdask.view import plot as plot

__all__ = [
    "IIT3",
    "IIT4",
    "IIT42026",
    "Substrate",
    "account",
    "causal_nexus",
    "ces",
    "complexes",
    "errors",
    "estimate",
    "examples",
    "load",
    "plot",
    "relations",
    "sia",
    "sweep",
    "true_events",
]

_HOME = {
    "IIT3": "iitdask.theory.options:IIT3",
    "IIT4": "iitdask.theory.options:IIT4",
    "IIT42026": "iitdask.theory.options:IIT42026",
    "Substrate": "iitdask.model.substrate:Substrate",
    "account": "iitdask.accounts:account",
    "causal_nexus": "iitdask.accounts:causal_nexus",
    "ces": "iitdask.doors:ces",
    "complexes": "iitdask.doors:complexes",
    "errors": "iitdask.errors",
    "estimate": "iitdask.doors:estimate",
    "examples": "iitdask.model.examples",
    "load": "iitdask.model.readers:load",
    "plot": "iitdask.view.plot",
    "relations": "iitdask.result.relations",
    "sia": "iitdask.doors:sia",
    "sweep": "iitdask.sweeps:sweep",
    "true_events": "iitdask.accounts:true_events",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'iitdask' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return list(__all__)
