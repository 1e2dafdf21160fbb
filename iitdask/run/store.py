"""A ledger in a Zarr store: outlives the run, and is its result."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import DamagedStoreError, LedgerMismatchError, StoreError
from iitdask.run.checksum import lineage, text_digest
from iitdask.run.folder import UNREADABLE, Folder, read_layout
from iitdask.run.job import Deposit, Setting, Shelved
from iitdask.run.layout import Layout
from iitdask.run.lease import alone
from iitdask.run.place import absolute, explained, local_path, open_store
from iitdask.run.plan import Block, Tiling, tile
from iitdask.run.tree import attributes, make_root
from iitdask.theory.base import Answer, Stage, Stored

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from iitdask.run.pantry import Pantry

__all__ = ["ZarrLedger", "deposited", "read_stored"]

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT = 1
"""Version of the way stages lie in a store."""
EAGER = 256 * 2**20
"""Bytes up to which a stage's variables are read at once; larger ones are read when looked at."""

log = logging.getLogger(__name__)


class ZarrLedger:
    """Blocks kept as chunks of a Zarr store.

    Parameters
    ----------
    url : str
        Directory, or any URL that fsspec opens.
    study : mapping, optional
        What is computed, as JSON. Recorded in a new store and compared with the
        one recorded in an old store; without it an old store is opened as it is.
    fingerprint : str, optional
        Fingerprint of the study; a digest of `study` when not given.
    pantry : Pantry, optional
        Keeps some stages outside this store, for other studies.

    Raises
    ------
    LedgerMismatchError
        The store holds another study.
    StoreError
        There is something else at this address.
    """

    def __init__(
        self,
        url: str,
        study: Mapping[str, Any] | None = None,
        fingerprint: str | None = None,
        *,
        pantry: Pantry | None = None,
    ) -> None:
        self.url = url
        self._pantry = pantry
        self._store = open_store(url)
        self._folders: dict[str, Folder] = {}
        wanted = None if study is None else json.loads(json.dumps(study))
        if fingerprint is None and wanted is not None:
            fingerprint = text_digest([wanted])
        found = self._root()
        if found is None:
            found = self._create(wanted or {}, fingerprint or text_digest([{}]))
        # Also of a new one: another process may have been faster.
        if fingerprint is not None and found["fingerprint"] != fingerprint:
            raise LedgerMismatchError(_mismatch(url, found["study"], wanted or {}))
        self.study: dict[str, Any] = found["study"]
        self._fingerprint = str(found["fingerprint"])

    @property
    def fingerprint(self) -> str:
        """What tells the study of this store from others."""
        return self._fingerprint

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = lineage(stage, lambda name: self._folder(name).layout.lineage)
        url, store = self._home(stage.name, wanted)
        with alone(store, stage.name):
            layout = self._laid_out(url, store, stage, wanted, block_seconds)
            self._folders[stage.name] = Folder.establish(url, store, layout)
        return layout.tiling

    def _laid_out(
        self, url: str, store: Store, stage: Stage, wanted: str, block_seconds: float
    ) -> Layout:
        found = read_layout(url, store, stage.name)
        if found is not None and found.lineage == wanted:
            # Units and prose may have been reworded; the numbers are the same.
            return replace(found, fills=stage.fills, version=stage.version)
        layout = Layout.of(stage, tile(stage, block_seconds), wanted)
        for old in (found or layout, layout):
            Folder(url, store, old).wipe()
        if found is not None:
            log.warning("%s: stage %r changed and is planned afresh", url, stage.name)
        return layout

    def _home(self, stage: str, wanted: str) -> tuple[str, Store]:
        """Where a stage is kept."""
        if self._pantry is None or not self._pantry.keeps(stage):
            return self.url, self._store
        url = self._pantry.place(stage, wanted)
        return url, open_store(url)

    def lend(self, stage: Stage) -> Setting:
        """Put the stage's input arrays into the store, where the workers find them."""
        folder = self._folder(stage.name)
        address = absolute(folder.url)
        inputs: dict[str, Array | Stored | Shelved | Deposit] = {}
        with alone(folder.store, f"{stage.name}-inputs"):
            for name, given in stage.inputs.items():
                if isinstance(given, Stored):
                    home = absolute(self._folder(given.stage).url)
                    inputs[name] = given if home == address else Shelved(home, given)
                else:
                    inputs[name] = Deposit(name, folder.deposit(name, np.asarray(given)))
        return Setting.of(stage, folder.layout, address, address, inputs)

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        return self._folder(stage).layout.tiling

    def done(self, stage: str) -> set[Block]:
        """Blocks that are filled."""
        return self._folder(stage).done()

    def fill(self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Keep the arrays of a block and tick it."""
        folder = self._folder(stage)
        folder.write(block, folder.layout.accept(block, arrays), seconds)

    def ticks(self, stage: str, blocks: Iterable[Block] | None = None) -> dict[Block, float]:
        """Seconds that filled blocks took; of all, or of some."""
        folder = self._folder(stage)
        return folder.seconds(folder.done() if blocks is None else blocks)

    def arrays(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one filled block, checked."""
        folder = self._folder(stage)
        if block not in folder.done():
            raise StoreError(f"{self.url}: stage {stage!r}, block {block} is not filled")
        try:
            return folder.read(block)
        except DamagedStoreError:
            folder.forget([block])
            raise

    def read(self, stored: Stored) -> Array:
        """Return one variable of a filled stage, checked."""
        return read_stored(self._folder(stored.stage), stored)

    def size(self, stored: Stored) -> int:
        """Bytes of one variable."""
        layout = self._folder(stored.stage).layout
        return layout.size(layout.variable(stored.variable))

    def answer(self, stage: str) -> Answer:
        """Return the variables of a stage by name, every filled block checked."""
        folder = self._folder(stage)
        if folder.layout.nbytes > EAGER:
            bad, arrays = folder.damaged(), None
        else:
            arrays, bad = folder.gather(folder.layout.fills)
        if bad:
            folder.forget(bad)
            raise folder.damage(bad)
        return folder.lazily() if arrays is None else folder.layout.answer(arrays)

    def verify(self, stage: str) -> list[Block]:
        """Find filled blocks that no longer hold what was written."""
        return sorted(self._folder(stage).damaged())

    def forget(self, stage: str, blocks: Iterable[Block]) -> None:
        """Untick blocks and drop what they hold."""
        self._folder(stage).forget(blocks)

    def _folder(self, stage: str) -> Folder:
        if stage not in self._folders:
            if read_layout(self.url, self._store, stage) is None:
                raise StoreError(f"{self.url}: no stage {stage!r}")
            self._folders[stage] = Folder.load(self.url, stage)
        return self._folders[stage]

    def _root(self, again: bool = True) -> dict[str, Any] | None:
        try:
            attrs = attributes(self._store)
        except FileNotFoundError:
            if _holds_something(local_path(self.url)):
                if again:  # another process may have made the store since it was asked for
                    return self._root(again=False)
                raise StoreError(f"{self.url} is not empty and not a store; use another") from None
            return None
        except UNREADABLE as error:
            raise StoreError(f"{self.url}: zarr.json cannot be read ({error})") from error
        if not {"study", "fingerprint", "format"} <= set(attrs):
            raise StoreError(f"{self.url} is a Zarr group, but not a store of iitdask")
        if attrs["format"] != FORMAT:
            raise StoreError(
                f"{self.url} has store format {attrs['format']!r}, this iitdask reads {FORMAT}; "
                "use the version that wrote it"
            )
        return attrs

    def _create(self, study: dict[str, Any], fingerprint: str) -> dict[str, Any]:
        attrs = {
            "study": study,
            "fingerprint": fingerprint,
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "iitdask": _version(),
        }
        try:
            with explained(self.url):
                made = make_root(self._store, attrs)
        except OSError as error:
            raise StoreError(f"{self.url} cannot be created: {error}") from error
        return attrs if made else self._root() or attrs  # another process was faster


def _holds_something(path: Path | None) -> bool:
    if path is None or not path.exists():
        return False
    # Another process may be about to make a store here.
    return path.is_file() or any(
        not each.name.endswith(".partial") and each.name != "zarr.json" for each in path.iterdir()
    )


def deposited(url: str, stage: str, name: str) -> Array:
    """Return an input array that was put into the store for the workers of a stage.

    It is not checked: the lineage of the stage, which is made from it, tells whether it is whole.
    """
    return Folder.load(url, stage).input(name)


def read_stored(folder: Folder, stored: Stored) -> Array:
    """Return one variable of a stage's folder; damaged blocks are unticked and raised."""
    variable = folder.layout.variable(stored.variable)
    missing = len(folder.layout.tiling) - len(folder.done())
    if missing and not folder.layout.partial:
        raise StoreError(
            f"{folder.url}: stage {stored.stage!r} is read, but {missing} block(s) are missing"
        )
    arrays, bad = folder.gather([variable])
    if bad:
        folder.forget(bad)
        raise folder.damage(bad)
    return arrays[variable.name]


def _mismatch(url: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = dict(_flat(found)), dict(_flat(wanted))
    keys = [
        key for key in (*old, *(k for k in new if k not in old)) if old.get(key) != new.get(key)
    ]
    if not keys:
        return f"{url} was started with another fingerprint of the same study; use another store"
    fields = "; ".join(
        f"{key}={_shown(old, key)}, this study says {_shown(new, key)}" for key in keys[:8]
    )
    return f"{url} was started with {fields}. Use another store"


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    text = repr(values[key])
    return text if len(text) <= 60 else text[:57] + "..."


def _flat(given: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(given, Mapping) or not given:
        yield prefix, given
        return
    for key, value in given.items():
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))


def _version() -> str:
    try:
        return version("iitdask")
    except PackageNotFoundError:
        return "unknown"
