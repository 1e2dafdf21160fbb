"""The ledger in a Zarr store, which outlives the run, and a cache of stages shared by stores."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from iitdask.errors import (
    BusyStoreError,
    InputError,
    LedgerMismatchError,
    MissingStoreError,
    StoreError,
    quote,
)
from iitdask.model.documents import path_text
from iitdask.run.checksum import package_version, text_digest
from iitdask.run.coordination import BlockClaims, critical_section, live_sessions, open_session
from iitdask.run.events import logged_studies
from iitdask.run.ledger import Ledger
from iitdask.run.plan import Tiling, tile
from iitdask.run.result_group import (
    EMPTIED_ATTRIBUTE,
    delete_own_groups,
    holds_run,
    is_emptied,
)
from iitdask.run.stage_group import (
    DAMAGE_ERRORS,
    FILLED_GROUP,
    WORK_GROUP,
    StageGroup,
    StageReader,
    list_stages,
    read_stage_layout,
)
from iitdask.run.storage import Store, local_path, open_store, write_errors_as_store_errors
from iitdask.run.task import Input, StageContext, StageLayout, VariableRef
from iitdask.run.zarr_io import (
    STORE_FORMAT,
    create_root,
    read_attrs,
    replace_root,
    require_current_format,
)
from iitdask.theory.stage import Array, Filled, Stage, StageRef

CACHE_BYTES = 20 * 10**9
LAST_USED_FILE = "used"  # File of a cache entry: the time of its last use, in seconds since 1970
MAX_EAGER_BYTES = 256 * 2**20  # Bytes up to which a stage is read at once, not when looked at
ROOT_LOCK = "root"  # Name of the lock under which the root is written anew
SHOWN_FIELDS = 8
SHOWN_CHARACTERS = 60

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One stage in a cache."""

    path: Path
    stage: str
    nbytes: int
    used: float  # Time of its last use, in seconds since 1970
    blocks: int
    done: int
    in_use: bool


@dataclass(slots=True, eq=False)
class StageCache:
    """A directory of stages that several studies need; least recently used ones are evicted.

    Each entry is a small store of its own, named by the lineage of its stage: the digest of all
    that its numbers depend on. An entry in use is held by a session, like a store being filled.
    """

    directory: str | os.PathLike[str]
    stages: tuple[str, ...]
    budget: int = CACHE_BYTES
    _held: dict[str, Store] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def opened(self) -> Iterator[StageCache]:
        """Hold the entries used inside the context until its end."""
        open_cache_directory(self.directory)
        with self._stack:
            yield self

    def is_cached(self, stage: str) -> bool:
        """Return whether a stage belongs into the cache."""
        return stage.rsplit("/", 1)[-1] in self.stages

    def entry_store(self, stage: str, lineage: str) -> Store:
        """Return the store that holds a stage, created if missing."""
        name = f"{stage.replace('/', '.')}-{lineage}"
        if name not in self._held:
            path = open_cache_directory(self.directory).absolute() / name
            with write_errors_as_store_errors(str(path)):
                self._held[name] = self._hold(path)
                (path / LAST_USED_FILE).write_text(str(time.time()))
            self._evict()
        return self._held[name]

    def _hold(self, path: Path) -> Store:
        """Open or create an entry with a session of this process in it."""
        while True:
            store = _open_or_create_entry(path)
            with ExitStack() as stack:
                stack.enter_context(open_session(store, join=True))
                # Another process may have evicted the entry before it saw this session.
                if _is_current_entry(store):
                    self._stack.push(stack.pop_all())
                    return store

    def _evict(self) -> None:
        entries = list_entries(self.directory)
        total = sum(entry.nbytes for entry in entries)
        for entry in sorted(entries, key=lambda each: each.used):
            if total <= self.budget:
                return
            if entry.path.name not in self._held and _delete_entry(entry.path):
                total -= entry.nbytes


def _delete_entry(path: Path) -> bool:
    """Delete an entry at once, unless a session is at work in it; return whether it is gone."""
    store = open_store(path)
    doomed = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with open_session(store) as session, session.exclusive("entry"):
            # Whoever opens the entry from now on waits for this session, and then finds none.
            path.rename(doomed)
    except (BusyStoreError, OSError):
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def list_entries(directory: str | os.PathLike[str]) -> list[CacheEntry]:
    """Return the entries of a cache directory, sorted by path."""
    root = open_cache_directory(directory, create=False)
    return [
        _read_entry(path) for path in sorted(root.iterdir()) if (path / LAST_USED_FILE).exists()
    ]


def _read_entry(path: Path) -> CacheEntry:
    store, blocks, done = open_store(path), 0, 0
    names = list_stages(store)
    with suppress(*DAMAGE_ERRORS):
        for name in names:
            group = StageGroup.load(store, name)
            blocks, done = blocks + len(group.layout.tiling), done + len(group.done())
    used = 0.0
    with suppress(OSError, ValueError):
        used = float((path / LAST_USED_FILE).read_text())
    nbytes = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):  # another process may be writing into the entry
                nbytes += Path(folder, name).stat().st_size
    in_use = bool(live_sessions(store))
    return CacheEntry(path, ", ".join(names), nbytes, used, blocks, done, in_use)


def open_cache_directory(directory: str | os.PathLike[str], create: bool = True) -> Path:
    """Return the path of a cache; InputError if it is no directory."""
    expected = "cache (--cache): expected a directory"
    path = local_path(path_text(directory, expected))
    if path is None:
        raise InputError(f"{expected}, got {quote(directory)}")
    if create:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{expected}, got {quote(directory)} ({reason})") from error
    elif not path.is_dir():
        raise InputError(f"{expected}, {quote(directory)} is none")
    return path


def _open_or_create_entry(path: Path) -> Store:
    store = open_store(path)
    if not _is_current_entry(store):
        if store.list_dir(WORK_GROUP):
            _delete_entry(path)
        replace_root(
            store, {"comment": "Cache entry of iitdask; may be deleted.", "format": STORE_FORMAT}
        )
    return store


def _is_current_entry(store: Store) -> bool:
    with suppress(*DAMAGE_ERRORS):
        return bool(read_attrs(store).get("format") == STORE_FORMAT)
    return False


class ZarrLedger(Ledger):
    """Blocks kept as chunks of a Zarr store.

    A new store records `study`; an old one of another study raises a LedgerMismatchError. With
    `keep_inputs` the input arrays of every stage are stored, for readers that cannot make them;
    otherwise only when another process needs them. With `claims` of processes that share the store
    one of them reads the blocks of a stage and writes them as one for the others.
    """

    def __init__(
        self,
        store: Store,
        study: Mapping[str, Any] | None = None,
        fingerprint: str | None = None,
        *,
        cache: StageCache | None = None,
        keep_inputs: bool = False,
        claims: BlockClaims | None = None,
    ) -> None:
        self.store = store
        self._claims = claims
        self._cache = cache
        self._keep_inputs = keep_inputs
        self._groups: dict[str, StageGroup] = {}
        wanted = None if study is None else json.loads(json.dumps(study))
        if fingerprint is None and wanted is not None:
            fingerprint = text_digest([wanted])
        recorded = self._read_root()
        if recorded is None:
            recorded = self._create_root(wanted or {}, fingerprint or text_digest([{}]))
        # Also compared after creation: another process may have been faster.
        if fingerprint is not None and recorded["fingerprint"] != fingerprint:
            raise LedgerMismatchError(
                _mismatch_message(self.store.url, recorded["study"], wanted or {})
            )
        require_current_format(self.store, recorded)
        self.study: dict[str, Any] = recorded["study"]
        self.fingerprint = str(recorded["fingerprint"])

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = self.lineage(stage)
        store = self.store
        if self._cache is not None and self._cache.is_cached(stage.name):
            store = self._cache.entry_store(stage.name, wanted)
        given = stage.inputs if self._keep_inputs else {}
        inputs = {k: np.asarray(v) for k, v in given.items() if not isinstance(v, StageRef)}
        group = self._open_existing(store, stage, wanted, inputs)
        if group is None:
            with critical_section(store, stage.name):
                layout = self._open_or_create_layout(store, stage, wanted, block_seconds)
                group = StageGroup.create(store, layout)
                group.write_inputs(inputs)
        self._groups[stage.name] = group
        return group.layout.tiling

    def _open_existing(
        self, store: Store, stage: Stage, wanted: str, inputs: Mapping[str, Array]
    ) -> StageGroup | None:
        """Open a stage that is there as it should be, which takes no lock; None if it is not."""
        stored = read_stage_layout(store, stage.name)
        if stored is None or stored.lineage != wanted:
            return None
        layout = replace(stored, variables=stage.variables, version=stage.version)
        group = StageGroup(store, layout)
        return group if group.is_written() and group.holds_inputs(inputs) else None

    def _open_or_create_layout(
        self, store: Store, stage: Stage, wanted: str, block_seconds: float
    ) -> StageLayout:
        stored = read_stage_layout(store, stage.name)
        if stored is not None and stored.lineage == wanted:
            # Units and prose may have been reworded; the numbers are the same.
            return replace(stored, variables=stage.variables, version=stage.version)
        layout = StageLayout.from_stage(stage, tile(stage, block_seconds), wanted)
        if store.list_dir(StageGroup(store, layout).path):
            for old in (stored or layout, layout):
                StageGroup(store, old).clear()
        if stored is not None:
            log.warning("%s: stage %r changed and is planned afresh", store.url, stage.name)
        return layout

    def worker_context(self, stage: Stage) -> StageContext:
        """Return what a worker needs to fill blocks of a stage."""
        group = self.stage(stage.name)
        inputs: dict[str, Input] = {
            name: VariableRef(self.stage(source.stage).store, source)
            if isinstance(source, StageRef)
            else np.asarray(source)
            for name, source in stage.inputs.items()
        }
        return StageContext.from_stage(
            stage, group.layout, group.store.address, group.store, inputs
        )

    def stage(self, name: str) -> StageGroup:
        """Return the group of a stage; StoreError if there is none of that name."""
        if name not in self._groups:
            if read_stage_layout(self.store, name) is None:
                raise StoreError(f"{self.store.url}: no stage {name!r}")
            self._groups[name] = StageGroup.load(self.store, name)
        return self._groups[name]

    def block_counts(self) -> dict[str, int]:
        """Return how many blocks of each stage of this store are committed, which lists them."""
        stages = {
            name: layout
            for name in list_stages(self.store)
            if (layout := read_stage_layout(self.store, name)) is not None
        }
        return {name: len(StageGroup(self.store, each).done()) for name, each in stages.items()}

    def reader(self, stage: str) -> StageReader | None:
        """Return what reads blocks of a stage while others are computed."""
        group = self.stage(stage)
        if group.layout.partial or self._claims is not None:
            return None
        return StageReader(group, holds_arrays=group.layout.nbytes <= MAX_EAGER_BYTES)

    def read_stage(self, stage: str, reader: StageReader | None = None) -> Filled:
        """Return the variables of a stage by name, every committed block verified."""
        group = self.stage(stage)
        if reader is not None:
            arrays = reader.finish()
            return group.layout.label_arrays(arrays) if reader.holds_arrays else group.open_lazy()
        if group.layout.nbytes <= MAX_EAGER_BYTES:
            if self._claims is None or group.layout.partial or len(group.layout.tiling) == 1:
                return super().read_stage(stage)
            return group.layout.label_arrays(self._read_for_all(group, self._claims))
        group.delete_damaged(group.damaged_blocks())
        return group.open_lazy()

    def _read_for_all(self, group: StageGroup, claims: BlockClaims) -> dict[str, Array]:
        """Read a stage that one process reads from its blocks, and all others as one."""
        name, backoff = f"{group.layout.name}/{FILLED_GROUP}", claims.backoff()
        while True:
            arrays = group.read_filled()
            if arrays is not None:
                return arrays
            if claims.acquire(name):
                try:
                    arrays = group.read_all(group.layout.variables)
                    group.write_filled(arrays)
                    return arrays
                finally:
                    claims.release(name)
            backoff.sleep()

    def _read_root(self, again: bool = True) -> dict[str, Any] | None:
        """Return the attributes of the root; None if it is yet to be written, or written anew."""
        url = self.store.url
        try:
            attrs = read_attrs(self.store)
        except FileNotFoundError:
            if not _is_occupied(self.store.directory):
                return None
            if again:  # another process may have created the store since it was looked for
                return self._read_root(again=False)
            if holds_run(self.store):
                return None
            directory = self.store.directory
            what = "is not empty and not a store"
            if directory is not None and not directory.is_dir():
                what = "is no directory"
            raise MissingStoreError(f"{url} {what}; use another") from None
        except OSError as error:
            raise StoreError(f"{url}: zarr.json cannot be read ({error.strerror})") from error
        except DAMAGE_ERRORS as error:
            if holds_run(self.store):
                return None
            raise StoreError(f"{url}: zarr.json cannot be read ({error})") from error
        if EMPTIED_ATTRIBUTE in attrs:
            return None
        if not {"study", "fingerprint", "format"} <= set(attrs):
            raise MissingStoreError(f"{url} is a Zarr group, but not a store of iitdask")
        return attrs

    def _create_root(self, study: dict[str, Any], fingerprint: str) -> dict[str, Any]:
        attrs = {
            "study": study,
            "fingerprint": fingerprint,
            "format": STORE_FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "iitdask": package_version(),
        }
        with write_errors_as_store_errors(self.store.url):
            if not _is_occupied(self.store.directory) and create_root(self.store, attrs):
                return attrs
            # Another process was faster, or the root was damaged or emptied.
            with critical_section(self.store, ROOT_LOCK):
                recorded = self._read_root()
                if recorded is None:
                    self._replace_root(attrs)
                return recorded or attrs

    def _replace_root(self, attrs: dict[str, Any]) -> None:
        """Write a root anew; LedgerMismatchError if the logs tell of other studies only."""
        if is_emptied(self.store):
            delete_own_groups(self.store)  # it may have been killed while it was emptied
        else:
            logged = logged_studies(self.store)
            if logged and attrs["fingerprint"] not in logged:
                raise LedgerMismatchError(
                    f"{self.store.url}: zarr.json is damaged, and the store was filled for another "
                    "study. Run that one to mend it, use another store, or begin again with --fresh"
                )
            log.warning("%s: zarr.json is damaged and written anew", self.store.url)
        replace_root(self.store, attrs)


def _is_occupied(path: Path | None) -> bool:
    if path is None or not path.exists():
        return False
    # Another process may be about to create a store here.
    return not path.is_dir() or any(
        not each.name.endswith(".partial") and each.name != "zarr.json" for each in path.iterdir()
    )


def _mismatch_message(url: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = dict(_flatten(stored)), dict(_flatten(wanted))
    keys = [
        key for key in (*old, *(k for k in new if k not in old)) if old.get(key) != new.get(key)
    ]
    if not keys:
        return f"{url} was started with another fingerprint of the same study; use another store"
    fields = "; ".join(
        f"{key}={_format_value(old, key)}, this study says {_format_value(new, key)}"
        for key in keys[:SHOWN_FIELDS]
    )
    return f"{url} was started with {fields}. Use another store"


def _format_value(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    text = repr(values[key])
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield prefix, value
        return
    for key, below in value.items():
        yield from _flatten(below, f"{prefix}.{key}" if prefix else str(key))
