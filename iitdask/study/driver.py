"""Run one point: open or resume its ledger, drive its recipe, keep the labelled result."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import xarray as xr

from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.result.assemble import labelled, package_version
from iitdask.run.engines import Engine, Futures, Inline
from iitdask.run.events import Observer
from iitdask.run.execute import execute
from iitdask.run.ledger import Ledger
from iitdask.run.memory import MemoryLedger
from iitdask.run.outcome import save_result
from iitdask.run.store import ZarrLedger
from iitdask.study.spec import Point
from iitdask.theory.catalog import recipe, theory_options

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["provenance", "run_point"]


def run_point(
    point: Point,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    observers: Sequence[Observer] = (),
    block_seconds: float = 5.0,
    memory: int | None = None,
) -> xr.DataTree:
    """Compute a point, or what is missing of it, and return the labelled tree.

    Parameters
    ----------
    point : Point
        What to compute.
    client : distributed.Client, optional
        Where to compute; this process when not given.
    store : str or path, optional
        Zarr store that makes the run resumable and keeps its result.
    observers : sequence of callable
        Told every event.
    block_seconds : float
        Wished seconds of a block.
    memory : int, optional
        Bytes one block may take.
    """
    ledger = _ledger(point, store)
    work = recipe(point.compute, point.system, point.options)
    tree = execute(
        work,
        ledger,
        _engine(client),
        block_seconds=block_seconds,
        observers=observers,
        memory=memory,
    )
    named = labelled(tree, point.system, point.options)
    if store is not None:
        save_result(os.fspath(store), named, provenance())
    return named


def _ledger(point: Point, store: str | os.PathLike[str] | None) -> Ledger:
    if store is None:
        return MemoryLedger()
    return ZarrLedger(os.fspath(store), point.described(), point.fingerprint)


def _engine(client: Client | None) -> Engine:
    return Inline() if client is None else Futures(client)


def provenance() -> dict[str, Any]:
    """Where and with what a result was made."""
    return {
        "iitdask": package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }


def warm_up() -> None:
    """Compile every kernel of IIT 4.0, by running a system of two units."""
    pair = Substrate.from_tpm([[0.1, 0.2], [0.7, 0.4], [0.6, 0.8], [0.9, 0.3]])
    point = Point(System.of(pair, "10"), theory_options("iit4"), "ces")
    run_point(point)
