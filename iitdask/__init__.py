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
    from iitdask.api import account as account
    from iitdask.api import causal_nexus as causal_nexus
    from iitdask.api import ces as ces
    from iitdask.api import complexes as complexes
    from iitdask.api import estimate as estimate
    from iitdask.api import sia as sia
    from iitdask.api import sweep as sweep
    from iitdask.api import true_events as true_events
    from iitdask.model import examples
    from iitdask.model.readers import load as load
    from iitdask.model.substrate import Substrate as Substrate
    from iitdask.result import relation_iteration as relations
    from iitdask.theory.options import IIT3 as IIT3
    from iitdask.theory.options import IIT4 as IIT4
    from iitdask.theory.options import IIT42026 as IIT42026
    from iitdask.view import plot

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

_EXPORTS = {  # name: module, or module:attribute
    "IIT3": "iitdask.theory.options:IIT3",
    "IIT4": "iitdask.theory.options:IIT4",
    "IIT42026": "iitdask.theory.options:IIT42026",
    "Substrate": "iitdask.model.substrate:Substrate",
    "account": "iitdask.api:account",
    "causal_nexus": "iitdask.api:causal_nexus",
    "ces": "iitdask.api:ces",
    "complexes": "iitdask.api:complexes",
    "errors": "iitdask.errors",
    "estimate": "iitdask.api:estimate",
    "examples": "iitdask.model.examples",
    "load": "iitdask.model.readers:load",
    "plot": "iitdask.view.plot",
    "relations": "iitdask.result.relation_iteration",
    "sia": "iitdask.api:sia",
    "sweep": "iitdask.api:sweep",
    "true_events": "iitdask.api:true_events",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'iitdask' has no attribute {name!r}")
    module, _, attribute = _EXPORTS[name].partition(":")
    home = import_module(module)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return list(__all__)
