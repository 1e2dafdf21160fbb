"""Run a sweep: what is new is computed once, and the cube is readable from the first minute."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xarray as xr

from iitdask.errors import IITError, LedgerMismatchError, SpecError
from iitdask.model.substrate import Substrate
from iitdask.result.assemble import labelled
from iitdask.run.checksum import text_digest
from iitdask.run.doings import posted
from iitdask.run.engines import Engine, engine_of, worker_memory
from iitdask.run.events import Observer
from iitdask.run.execute import execute
from iitdask.run.journal import Journal
from iitdask.run.lease import alone
from iitdask.run.memory import MemoryLedger
from iitdask.run.outcome import consolidate, load_result, save_apart, save_result, study_of
from iitdask.run.place import open_store
from iitdask.run.presence import driving
from iitdask.run.roll import enrol, enrolled
from iitdask.run.store import ZarrLedger
from iitdask.run.survey import costs_of
from iitdask.run.tree import attributes, make_group
from iitdask.study.axes import Axis, read_axes
from iitdask.study.cells import Cells, cells_of
from iitdask.study.grounds import grounds_of
from iitdask.study.keeper import Keeper, Order, ordered
from iitdask.study.provenance import provenance
from iitdask.study.spec import Study, asked_in
from iitdask.theory.catalog import default_theory, theory_options
from iitdask.theory.swept import Heavy, Keep, blank, swept

if TYPE_CHECKING:
    from distributed import Client
    from numpy.typing import NDArray

    from iitdask.model.subject import Subject
    from iitdask.run.ledger import Ledger
    from iitdask.theory.base import Stages

__all__ = ["Sweep", "enrol_sweep", "made_sweep", "run_sweep", "shared_sweep", "sweep_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """A sweep that can be run."""

    cells: Cells
    """What is computed, and where it goes."""
    fixed: Mapping[str, Any]
    """What all cells have in common."""
    keep: bool = False
    """Whether the whole result of every point is kept."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes with their labels."""
        return {name: list(labels) for name, (_, labels) in self.cells.coords.items()}

    @property
    def fingerprint(self) -> str:
        """Digest of what a store cannot grow out of: all but the values along the axes."""
        return text_digest([dict(self.fixed), list(self.cells.coords.items()) and self._dims()])

    def _dims(self) -> list[tuple[str, str]]:
        return [(name, dim) for name, (dim, _) in self.cells.coords.items()]

    def described(self) -> dict[str, Any]:
        """The study as a store records it."""
        return {**self.fixed, "sweep": dict(self._dims())}


def sweep_of(study: Study, folder: Path, where: str) -> Sweep:
    """Build the sweep that a study asks for."""
    axes = read_axes(study.sweep, f"{where}: sweep")
    fields = asked_in(study)
    return made_sweep(
        study.compute,
        substrate=study.substrate,
        axes=axes,
        fields=fields,
        theory=study.theory,
        folder=folder,
        where=where,
        keep=study.keep is not None,
    )


def made_sweep(
    compute: str,
    *,
    substrate: Substrate | Mapping[str, Any] | None,
    axes: Sequence[Axis],
    fields: Mapping[str, Any],
    theory: Any,
    folder: Path,
    where: str,
    keep: bool = False,
) -> Sweep:
    """Build a sweep from its parts, see :func:`iitdask.study.cells.cells_of`."""
    grounds = grounds_of(substrate, axes, folder, where)
    cells = cells_of(
        compute,
        axes=axes,
        grounds=grounds,
        fields=fields,
        theory=theory,
        where=where,
        apart=keep,
    )
    names = {axis.name for axis in axes}
    fixed: dict[str, Any] = {} if "compute" in names else {"compute": compute}
    if theory is None and "compute" not in names:
        theory = default_theory(compute)
    if theory is not None and "theory" not in names:
        fixed["theory"] = json.loads(json.dumps(msgspec.to_builtins(theory_options(theory))))
    for name, value in fields.items():
        if value is not None and name not in names:
            fixed[name] = json.loads(json.dumps(value, default=str))
    if not grounds.dims:
        fixed["substrate"] = grounds.fingerprint(0)
    elif "substrate" not in names:
        fixed["substrate"] = text_digest([json.loads(json.dumps(substrate, default=_listed))])
    if keep:
        fixed["keep"] = "structures"
    return Sweep(cells, fixed, keep)


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def run_sweep(
    sweep: Sweep,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    observers: Sequence[Observer] = (),
    block_seconds: float = 5.0,
    memory: int | None = None,
    join: bool = False,
) -> xr.DataTree:
    """Compute a sweep, or what is missing of it.

    Parameters are those of :func:`iitdask.study.driver.run_point`.

    Returns
    -------
    DataTree
        Its root is the cube.

    Raises
    ------
    LedgerMismatchError
        The store holds another study, or values along an axis that this sweep lacks.
    """
    memory = worker_memory(client, memory)
    options: dict[str, Any] = {"block_seconds": block_seconds, "memory": memory}
    if store is None:
        if sweep.keep:
            raise SpecError("keep: structures: expected a store to keep them in; give one")
        order = ordered(sweep.cells, [sweep.cells.digests])
        engine = engine_of(client)
        return _computed(order, MemoryLedger(), engine, None, observers, **options)
    url = os.fspath(store)
    ledger = ZarrLedger(url, sweep.described(), sweep.fingerprint)
    with driving(url, join) as driver, posted(url, driver) as doings:
        order = ordered(sweep.cells, enrol_sweep(url, sweep))
        if "tidied" in study_of(url):
            return load_result(url)
        journal, about = Journal(url, driver), provenance()
        journal.begin({"study": sweep.fingerprint, "provenance": about})
        try:
            options["keep"] = _keeping(url) if sweep.keep else None
            engine = engine_of(client, url, doings)
            watched: list[Observer] = [*observers, journal]
            tree = _computed(order, ledger, engine, url, watched, **options)
            save_result(url, tree, about, costs_of(url))
            consolidate(url)
        except KeyboardInterrupt:
            journal.end({"reason": "interrupted"})
            raise
        except IITError as error:
            journal.end({"reason": str(error).splitlines()[0]})
            raise
    return tree


def enrol_sweep(url: str, sweep: Sweep) -> list[NDArray[Any]]:
    """Make the points of a sweep part of its store; all lists of points it has then."""
    with alone(open_store(url), "roll"):
        return _grown(url, sweep)


def _grown(url: str, sweep: Sweep) -> list[NDArray[Any]]:
    about, digests = study_of(url), sweep.cells.digests
    axes = json.loads(json.dumps(sweep.axes))
    before = about.get("axes", {})
    for name, labels in before.items():
        lost = [label for label in labels if label not in axes[name]]
        if lost:
            raise LedgerMismatchError(
                f"{url} has {name}={lost[0]!r}, which this study lacks: an axis may grow, not "
                "shrink. Use another store"
            )
    lists = enrolled(url)
    wanted = {bytes(each) for each in digests}
    known = {bytes(each) for each in np.concatenate([*lists, digests[:0]])}
    if known - wanted:
        raise LedgerMismatchError(
            f"{url} has {len(known - wanted)} points that this study lacks: the same labels stand "
            "for other substrates. Use another store"
        )
    new = np.array([bytes(each) not in known for each in digests], bool)
    if new.any():
        enrol(url, len(lists), digests[new])
        lists.append(digests[new])
    if axes != before:
        store = open_store(url)
        kept = {k: v for k, v in attributes(store).items() if k not in ("finished", "tidied")}
        make_group(store, "", {**kept, "axes": axes})
    return lists


def _computed(
    order: Order,
    ledger: Ledger,
    engine: Engine,
    url: str | None,
    observers: Sequence[Observer],
    *,
    block_seconds: float,
    memory: int | None,
    keep: Keep | None = None,
) -> xr.DataTree:
    recipe, keeper = _prepared(order, ledger, url, keep)
    execute(
        recipe,
        ledger,
        engine,
        block_seconds=block_seconds,
        observers=[*observers, keeper],
        memory=memory,
    )
    return xr.DataTree(keeper.cube())


def _prepared(
    order: Order, ledger: Ledger, url: str | None, keep: Keep | None
) -> tuple[Stages, Keeper]:
    out = blank(order.cells.computes, order.count)
    keeper = Keeper(order, ledger, url, out, keep is not None)
    return swept(order.portions, order.heavy, out, keep=keep), keeper


def shared_sweep(url: str, sweep: Sweep, ledger: Ledger) -> tuple[Stages, Keeper]:
    """Make the recipe of a sweep that others may fill too, and what has its cube in the end.

    Its cube is not written meanwhile.
    """
    order = ordered(sweep.cells, enrol_sweep(url, sweep))
    return _prepared(order, ledger, None, _keeping(url) if sweep.keep else None)


def _keeping(url: str) -> Keep:
    """Return what writes the whole result of a point into the store."""

    def keep(point: Heavy, subject: Subject, tree: xr.DataTree) -> None:
        save_apart(url, f"structures/{point.key}", labelled(tree, subject, point.options))

    return keep
