"""Stages kept outside a store, for every study that needs the same numbers.

Each is a small store of its own, named by the lineage of the stage: the digest
of all that its numbers depend on. Entries in use are held like a store that is
driven; what exceeds the budget is dropped, the least recently used first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from iitdask.errors import InputError
from iitdask.run.folder import UNREADABLE, Folder, stage_names
from iitdask.run.place import explained, local_path, open_store
from iitdask.run.presence import drivers, driving
from iitdask.run.tree import attributes, make_root

__all__ = ["BUDGET", "Jar", "Pantry", "jars"]

BUDGET = 20 * 10**9
"""Bytes a cache may hold."""
USED = "used"


@dataclass(frozen=True, slots=True)
class Jar:
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
class Pantry:
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
    budget: int = BUDGET
    _held: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def opened(self) -> Iterator[Pantry]:
        """Hold the entries that are asked for until the end."""
        _root(self.directory)
        with self._stack:
            yield self

    def keeps(self, stage: str) -> bool:
        """Whether a stage belongs here."""
        return stage.rsplit("/", 1)[-1] in self.stages

    def place(self, stage: str, lineage: str) -> str:
        """Address of the store that holds a stage, made when missing."""
        name = f"{stage.replace('/', '.')}-{lineage}"
        if name not in self._held:
            path = _root(self.directory).absolute() / name
            with explained(str(path)):
                _settle(path)
                self._stack.enter_context(driving(str(path), join=True))
                (path / USED).write_text(str(time.time()))
            self._held[name] = str(path)
            self._make_room()
        return self._held[name]

    def _make_room(self) -> None:
        found = jars(self.directory)
        total = sum(jar.nbytes for jar in found)
        for jar in sorted(found, key=lambda each: each.used):
            if total <= self.budget:
                return
            if jar.path.name not in self._held and not jar.in_use:
                shutil.rmtree(jar.path, ignore_errors=True)
                total -= jar.nbytes


def jars(directory: str) -> list[Jar]:
    """What a cache directory holds."""
    root = _root(directory, make=False)
    return [_jar(path) for path in sorted(root.iterdir()) if (path / USED).exists()]


def _jar(path: Path) -> Jar:
    url, blocks, done = str(path), 0, 0
    names = stage_names(open_store(url))
    with suppress(*UNREADABLE):
        for name in names:
            folder = Folder.load(url, name)
            blocks, done = blocks + len(folder.layout.tiling), done + len(folder.done())
    files = [each for each in path.rglob("*") if each.is_file()]
    used = 0.0
    with suppress(OSError, ValueError):
        used = float((path / USED).read_text())
    nbytes = sum(each.stat().st_size for each in files)
    return Jar(path, ", ".join(names), nbytes, used, blocks, done, bool(drivers(url)))


def _root(directory: str, make: bool = True) -> Path:
    path = local_path(directory)
    if path is None:
        raise InputError(f"cache: expected a directory, got {directory!r}")
    if make:
        path.mkdir(parents=True, exist_ok=True)
    elif not path.is_dir():
        raise InputError(f"cache: expected a directory, {directory} is none")
    return path


def _settle(path: Path) -> None:
    store = open_store(str(path))
    try:
        attributes(store)
    except UNREADABLE:
        shutil.rmtree(path, ignore_errors=True)
        make_root(store, {"comment": "Cache entry of iitdask; may be deleted."})
