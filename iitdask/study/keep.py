"""The point a store was made for, kept in it: enough to compute any block again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from iitdask.errors import DamagedStoreError, InputError
from iitdask.model.factor import Factor
from iitdask.model.substrate import Substrate
from iitdask.model.wide import Wide
from iitdask.run.folder import UNREADABLE
from iitdask.run.lease import alone
from iitdask.run.outcome import study_of
from iitdask.run.place import erase, explained, open_store
from iitdask.run.sheet import Sheet
from iitdask.run.tree import attributes, make_group
from iitdask.study.spec import Point, made_point
from iitdask.theory.catalog import computation, theory_options

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["keep_point", "kept_point"]

GROUP = "substrate"


def keep_point(url: str, point: Point) -> None:
    """Write the substrate of a point into its store, unless it is there and whole."""
    substrate = point.subject.substrate
    store = open_store(url)
    with alone(store, GROUP):
        try:
            if _substrate(url).fingerprint == substrate.fingerprint:
                return
        except (*UNREADABLE, InputError):
            pass
        _keep(url, store, substrate)


def _keep(url: str, store: Store, substrate: Substrate) -> None:
    erase(store, GROUP)
    wide = [unit for unit, f in enumerate(substrate.factors) if isinstance(f, Wide)]
    tables = [np.ravel(f.counted if isinstance(f, Wide) else f.table) for f in substrate.factors]
    attrs: dict[str, Any] = {
        "levels": list(substrate.levels),
        "labels": list(substrate.labels),
        "parents": [list(factor.parents) for factor in substrate.factors],
        "counted": wide,
        "comment": "Probability tables of all units, one after the other; see `parents`. "
        "A `counted` unit has one row for each number of its inputs that are on.",
    }
    with explained(f"{url}: {GROUP}"):
        make_group(store, GROUP, attrs)
        for name, data in (
            ("tables", np.concatenate(tables)),
            ("connectivity", np.array(substrate.connectivity)),
        ):
            Sheet.of(f"{GROUP}/{name}", data).write(store, data)


def kept_point(url: str) -> Point:
    """Rebuild the point of a store.

    Raises
    ------
    InputError
        The store is that of a sweep.
    DamagedStoreError
        What is there is not what the store's fingerprint says.
    """
    about = study_of(url)
    if "sweep" in about.get("study", {}):
        raise InputError(f"{url}: holds a sweep, which its study file tells; give it with --spec")
    try:
        study = about["study"]
        compute = study["compute"]
        fields = {name: study[name] for name in computation(compute).subject.FIELDS}
        options = theory_options(study["theory"])
        point = made_point(compute, _substrate(url), options, fields, url)
        intact = point.fingerprint == about["fingerprint"]
    except (*UNREADABLE, InputError, msgspec.ValidationError) as error:
        what = " ".join(str(error).split())
        raise DamagedStoreError(
            f"{url}: the study of the store cannot be read ({what}); run it again to mend this"
        ) from error
    if not intact:
        raise DamagedStoreError(
            f"{url}: the study of the store is not what was written; run it again to mend this"
        )
    return point


def _substrate(url: str) -> Substrate:
    store = open_store(url)
    attrs = attributes(store, GROUP)
    levels, parents = attrs["levels"], attrs["parents"]
    flat, edges = (
        Sheet.found(store, f"{GROUP}/{name}").read(store) for name in ("tables", "connectivity")
    )
    counted = set(attrs.get("counted", ()))
    factors: list[Factor | Wide] = []
    begin = 0
    for unit, inputs in enumerate(parents):
        shape = (*(levels[j] for j in inputs), levels[unit])
        if unit in counted:
            shape = (len(inputs) + 1, levels[unit])
        end = begin + int(np.prod(shape))
        kind = Wide if unit in counted else Factor
        factors.append(kind(tuple(inputs), flat[begin:end].reshape(shape)))
        begin = end
    return Substrate(tuple(factors), edges, tuple(levels), tuple(attrs["labels"]))
