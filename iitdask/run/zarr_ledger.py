"""The ledger in a Zarr store, which outlives the run, and the cache of stages shared by several stores."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import DamagedStoreError, InputError, LedgerMismatchError, StoreError
from iitdask.run.checksum import lineage, text_digest
from iitdask.run.coordination import critical_section, live_sessions, open_session
from iitdask.run.plan import Block, Tiling, tile
from iitdask.run.stage_group import DAMAGE_ERRORS, StageGroup, list_stages, read_stage_layout
from iitdask.run.storage import Store, absolute_url, disk_full_as_error, local_path, open_store
from iitdask.run.task import ForeignRef, InputRef, StageContext, StageLayout
from iitdask.run.zarr_io import create_root, read_attrs
from iitdask.theory.stage import Filled, Stage, StageRef

__all__ = [
    "CACHE_BYTES",
    "CacheEntry",
    "StageCache",
    "ZarrLedger",
    "list_entries",
    "read_stage_variable",
    "read_unchecked_input",
]

CACHE_BYTES = 20 * 10**9
"""Bytes a cache may hold."""
LAST_USED_FILE = "used"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One stage in a cache."""

    path: Path
    """Where it is."""
    stage: str
    """Name of the stage."""
    nbytes: int
    """Bytes on disk."""
    used: float
    """When it was last opened, seconds since 1970."""
    blocks: int
    """Number of blocks."""
    done: int
    """Number of filled blocks."""
    in_use: bool
    """Whether a run works with it now."""


@dataclass(slots=True, eq=False)
class StageCache:
    """A cache directory while a run uses it.

    Parameters
    ----------
    directory : str
        Where it is; made when missing. On a cluster every worker must see it.
    stages : tuple of str
        Names of the stages it keeps.
    budget : int
        Bytes it may hold; entries in use are never dropped.
    """

    directory: str
    stages: tuple[str, ...]
    budget: int = CACHE_BYTES
    _held: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def opened(self) -> Iterator[StageCache]:
        """Hold the entries that are asked for until the end."""
        _cache_directory(self.directory)
        with self._stack:
            yield self

    def is_cached(self, stage: str) -> bool:
        """Whether a stage belongs here."""
        return stage.rsplit("/", 1)[-1] in self.stages

    def place(self, stage: str, lineage: str) -> str:
        """Address of the store that holds a stage, made when missing."""
        name = f"{stage.replace('/', '.')}-{lineage}"
        if name not in self._held:
            path = _cache_directory(self.directory).absolute() / name
            with disk_full_as_error(str(path)):
                _create_entry(path)
                self._stack.enter_context(open_session(str(path), join=True))
                (path / LAST_USED_FILE).write_text(str(time.time()))
            self._held[name] = str(path)
            self._evict()
        return self._held[name]

    def _evict(self) -> None:
        found = list_entries(self.directory)
        total = sum(jar.nbytes for jar in found)
        for jar in sorted(found, key=lambda each: each.used):
            if total <= self.budget:
                return
            if jar.path.name not in self._held and not jar.in_use:
                shutil.rmtree(jar.path, ignore_errors=True)
                total -= jar.nbytes


def list_entries(directory: str) -> list[CacheEntry]:
    """What a cache directory holds."""
    root = _cache_directory(directory, make=False)
    return [
        _read_entry(path) for path in sorted(root.iterdir()) if (path / LAST_USED_FILE).exists()
    ]


def _read_entry(path: Path) -> CacheEntry:
    url, blocks, done = str(path), 0, 0
    names = list_stages(open_store(url))
    with suppress(*DAMAGE_ERRORS):
        for name in names:
            folder = StageGroup.load(url, name)
            blocks, done = blocks + len(folder.layout.tiling), done + len(folder.done())
    files = [each for each in path.rglob("*") if each.is_file()]
    used = 0.0
    with suppress(OSError, ValueError):
        used = float((path / LAST_USED_FILE).read_text())
    nbytes = sum(each.stat().st_size for each in files)
    return CacheEntry(path, ", ".join(names), nbytes, used, blocks, done, bool(live_sessions(url)))


def _cache_directory(directory: str, make: bool = True) -> Path:
    path = local_path(directory)
    if path is None:
        raise InputError(f"cache: expected a directory, got {directory!r}")
    if make:
        path.mkdir(parents=True, exist_ok=True)
    elif not path.is_dir():
        raise InputError(f"cache: expected a directory, {directory} is none")
    return path


def _create_entry(path: Path) -> None:
    store = open_store(str(path))
    try:
        read_attrs(store)
    except DAMAGE_ERRORS:
        shutil.rmtree(path, ignore_errors=True)
        create_root(store, {"comment": "Cache entry of iitdask; may be deleted."})


Array = np.ndarray[Any, np.dtype[Any]]

STORE_FORMAT = 1
"""Version of the way stages lie in a store."""
MAX_EAGER_BYTES = 256 * 2**20
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
        pantry: StageCache | None = None,
    ) -> None:
        self.url = url
        self._pantry = pantry
        self._store = open_store(url)
        self._folders: dict[str, StageGroup] = {}
        wanted = None if study is None else json.loads(json.dumps(study))
        if fingerprint is None and wanted is not None:
            fingerprint = text_digest([wanted])
        found = self._root()
        if found is None:
            found = self._create(wanted or {}, fingerprint or text_digest([{}]))
        # Also of a new one: another process may have been faster.
        if fingerprint is not None and found["fingerprint"] != fingerprint:
            raise LedgerMismatchError(_mismatch_message(url, found["study"], wanted or {}))
        self.study: dict[str, Any] = found["study"]
        self._fingerprint = str(found["fingerprint"])

    @property
    def fingerprint(self) -> str:
        """What tells the study of this store from others."""
        return self._fingerprint

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = lineage(stage, lambda name: self._folder(name).layout.lineage)
        url, store = self._stage_location(stage.name, wanted)
        with critical_section(store, stage.name):
            layout = self._open_or_create_layout(url, store, stage, wanted, block_seconds)
            self._folders[stage.name] = StageGroup.create(url, store, layout)
        return layout.tiling

    def _open_or_create_layout(
        self, url: str, store: Store, stage: Stage, wanted: str, block_seconds: float
    ) -> StageLayout:
        found = read_stage_layout(url, store, stage.name)
        if found is not None and found.lineage == wanted:
            # Units and prose may have been reworded; the numbers are the same.
            return replace(found, variables=stage.variables, version=stage.version)
        layout = StageLayout.of(stage, tile(stage, block_seconds), wanted)
        for old in (found or layout, layout):
            StageGroup(url, store, old).clear()
        if found is not None:
            log.warning("%s: stage %r changed and is planned afresh", url, stage.name)
        return layout

    def _stage_location(self, stage: str, wanted: str) -> tuple[str, Store]:
        """Where a stage is kept."""
        if self._pantry is None or not self._pantry.is_cached(stage):
            return self.url, self._store
        url = self._pantry.place(stage, wanted)
        return url, open_store(url)

    def worker_context(self, stage: Stage) -> StageContext:
        """Put the stage's input arrays into the store, where the workers find them."""
        folder = self._folder(stage.name)
        address = absolute_url(folder.url)
        inputs: dict[str, Array | StageRef | ForeignRef | InputRef] = {}
        with critical_section(folder.store, f"{stage.name}-inputs"):
            for name, given in stage.inputs.items():
                if isinstance(given, StageRef):
                    home = absolute_url(self._folder(given.stage).url)
                    inputs[name] = given if home == address else ForeignRef(home, given)
                else:
                    inputs[name] = InputRef(name, folder.write_input(name, np.asarray(given)))
        return StageContext.of(stage, folder.layout, address, address, inputs)

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        return self._folder(stage).layout.tiling

    def done(self, stage: str) -> set[Block]:
        """Blocks that are filled."""
        return self._folder(stage).done()

    def fill(self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Keep the arrays of a block and tick it."""
        folder = self._folder(stage)
        folder.write(block, folder.layout.validated(block, arrays), seconds)

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
            folder.delete_blocks([block])
            raise

    def read(self, stored: StageRef) -> Array:
        """Return one variable of a filled stage, checked."""
        return read_stage_variable(self._folder(stored.stage), stored)

    def size(self, stored: StageRef) -> int:
        """Bytes of one variable."""
        layout = self._folder(stored.stage).layout
        return layout.size(layout.variable(stored.variable))

    def answer(self, stage: str) -> Filled:
        """Return the variables of a stage by name, every filled block checked."""
        folder = self._folder(stage)
        if folder.layout.nbytes > MAX_EAGER_BYTES:
            bad, arrays = folder.damaged_blocks(), None
        else:
            arrays, bad = folder.gather(folder.layout.variables)
        if bad:
            folder.delete_blocks(bad)
            raise folder.damage_error(bad)
        return folder.open_lazy() if arrays is None else folder.layout.answer(arrays)

    def verify(self, stage: str) -> list[Block]:
        """Find filled blocks that no longer hold what was written."""
        return sorted(self._folder(stage).damaged_blocks())

    def delete_blocks(self, stage: str, blocks: Iterable[Block]) -> None:
        """Untick blocks and drop what they hold."""
        self._folder(stage).delete_blocks(blocks)

    def _folder(self, stage: str) -> StageGroup:
        if stage not in self._folders:
            if read_stage_layout(self.url, self._store, stage) is None:
                raise StoreError(f"{self.url}: no stage {stage!r}")
            self._folders[stage] = StageGroup.load(self.url, stage)
        return self._folders[stage]

    def _root(self, again: bool = True) -> dict[str, Any] | None:
        try:
            attrs = read_attrs(self._store)
        except FileNotFoundError:
            if _is_occupied(local_path(self.url)):
                if again:  # another process may have made the store since it was asked for
                    return self._root(again=False)
                raise StoreError(f"{self.url} is not empty and not a store; use another") from None
            return None
        except DAMAGE_ERRORS as error:
            raise StoreError(f"{self.url}: zarr.json cannot be read ({error})") from error
        if not {"study", "fingerprint", "format"} <= set(attrs):
            raise StoreError(f"{self.url} is a Zarr group, but not a store of iitdask")
        if attrs["format"] != STORE_FORMAT:
            raise StoreError(
                f"{self.url} has store format {attrs['format']!r}, this iitdask reads {STORE_FORMAT}; "
                "use the version that wrote it"
            )
        return attrs

    def _create(self, study: dict[str, Any], fingerprint: str) -> dict[str, Any]:
        attrs = {
            "study": study,
            "fingerprint": fingerprint,
            "format": STORE_FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "iitdask": _package_version(),
        }
        try:
            with disk_full_as_error(self.url):
                made = create_root(self._store, attrs)
        except OSError as error:
            raise StoreError(f"{self.url} cannot be created: {error}") from error
        return attrs if made else self._root() or attrs  # another process was faster


def _is_occupied(path: Path | None) -> bool:
    if path is None or not path.exists():
        return False
    # Another process may be about to make a store here.
    return path.is_file() or any(
        not each.name.endswith(".partial") and each.name != "zarr.json" for each in path.iterdir()
    )


def read_unchecked_input(url: str, stage: str, name: str) -> Array:
    """Return an input array that was put into the store for the workers of a stage.

    It is not checked: the lineage of the stage, which is made from it, tells whether it is whole.
    """
    return StageGroup.load(url, stage).input(name)


def read_stage_variable(folder: StageGroup, stored: StageRef) -> Array:
    """Return one variable of a stage's folder; damaged blocks are unticked and raised."""
    variable = folder.layout.variable(stored.variable)
    missing = len(folder.layout.tiling) - len(folder.done())
    if missing and not folder.layout.partial:
        raise StoreError(
            f"{folder.url}: stage {stored.stage!r} is read, but {missing} block(s) are missing"
        )
    arrays, bad = folder.gather([variable])
    if bad:
        folder.delete_blocks(bad)
        raise folder.damage_error(bad)
    return arrays[variable.name]


def _mismatch_message(url: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = dict(_flatten(found)), dict(_flatten(wanted))
    keys = [
        key for key in (*old, *(k for k in new if k not in old)) if old.get(key) != new.get(key)
    ]
    if not keys:
        return f"{url} was started with another fingerprint of the same study; use another store"
    fields = "; ".join(
        f"{key}={_format_value(old, key)}, this study says {_format_value(new, key)}"
        for key in keys[:8]
    )
    return f"{url} was started with {fields}. Use another store"


def _format_value(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    text = repr(values[key])
    return text if len(text) <= 60 else text[:57] + "..."


def _flatten(given: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(given, Mapping) or not given:
        yield prefix, given
        return
    for key, value in given.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))


def _package_version() -> str:
    try:
        return version("iitdask")
    except PackageNotFoundError:
        return "unknown"
