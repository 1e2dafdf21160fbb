"""Whether a store holds what it should: complete, as written, and as computed again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import DamagedStoreError, StoreError
from iitdask.run.checksum import lineage
from iitdask.run.execute import drive
from iitdask.run.folder import Folder, stage_names
from iitdask.run.job import Setting
from iitdask.run.outcome import load_result, study_of, tree_digest
from iitdask.run.place import absolute, open_store
from iitdask.run.store import ZarrLedger, read_stored
from iitdask.run.worker import compute_block
from iitdask.theory.base import Answer, Stage, Stages, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from iitdask.run.plan import Block, Tiling

__all__ = ["Audit", "audit"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found."""

    stages: int
    """Stages looked at."""
    blocks: int
    """Ticked blocks whose checksums were compared."""
    recomputed: int
    """Blocks computed again and compared bit by bit."""
    problems: tuple[str, ...]
    """What is wrong, a line each; none when all is well."""
    finished: bool
    """Whether there is a result."""
    tidied: bool
    """Whether the blocks have been dropped, so that only the result can be checked."""


class _Reader(ZarrLedger):
    """A ledger that changes nothing."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._cache = study_of(url).get("cache")

    def open(self, stage: Stage, block_seconds: float = 0.0) -> Tiling:  # noqa: ARG002
        """Open a stage that is there."""
        wanted = lineage(stage, lambda name: self._folder(name).layout.lineage)
        url = self.url
        if self._cache and stage.name not in stage_names(self._store):
            url = f"{self._cache}/{stage.name.replace('/', '.')}-{wanted}"
        folder = Folder.load(url, stage.name)
        if folder.layout.lineage != wanted:
            raise StoreError(
                f"stage {stage.name!r} was filled by another version of it or for other inputs"
            )
        self._folders[stage.name] = folder
        return folder.layout.tiling

    def lend(self, stage: Stage) -> Setting:
        """Read all inputs: nothing is deposited."""
        inputs = {
            name: read_stored(self._folder(given.stage), given)
            if isinstance(given, Stored)
            else np.asarray(given)
            for name, given in stage.inputs.items()
        }
        layout = self._folder(stage.name).layout
        return Setting.of(stage, layout, absolute(self.url), None, inputs)


def audit(
    url: str,
    recipe: Callable[[], Stages],
    finish: Callable[[xr.DataTree], xr.DataTree],
    sample: int = 10,
    seed: int | None = None,
) -> Audit:
    """Check a store; nothing in it is changed.

    Parameters
    ----------
    url : str
        Address of the store.
    recipe : callable
        Makes the recipe of the store's study.
    finish : callable
        Turns what the recipe returns into what is kept as the result.
    sample : int
        Blocks to compute again, chosen at random.
    seed : int, optional
        Makes the choice repeatable.
    """
    about = study_of(url)
    finished, tidied = "finished" in about, "tidied" in about
    problems = [] if tidied else _stages(url)
    blocks = 0 if tidied else _ticked(url)
    stages = 0 if tidied else len(stage_names(open_store(url)))
    if finished:
        try:
            load_result(url)
        except StoreError as error:
            problems.append(str(error))
    recomputed = 0
    if not tidied and not problems:
        try:
            recomputed = _again(url, recipe, finish, sample, seed, problems=problems)
        except StoreError as error:
            problems.append(str(error))
    return Audit(stages, blocks, recomputed, tuple(problems), finished, tidied)


def _stages(url: str) -> list[str]:
    problems = []
    for name in stage_names(open_store(url)):
        try:
            folder = Folder.load(url, name)
        except DamagedStoreError as error:
            problems.append(str(error))
            continue
        missing = len(folder.layout.tiling) - len(folder.done())
        if missing and not folder.layout.partial:
            problems.append(f"{url}: stage {name!r}, {missing} block(s) are not filled")
        bad = folder.damaged()
        if bad:
            problems.append(str(folder.damage(bad)))
    return problems


def _ticked(url: str) -> int:
    total = 0
    for name in stage_names(open_store(url)):
        try:
            total += len(Folder.load(url, name).done())
        except DamagedStoreError:
            continue
    return total


def _again(
    url: str,
    recipe: Callable[[], Stages],
    finish: Callable[[xr.DataTree], xr.DataTree],
    sample: int,
    seed: int | None,
    *,
    problems: list[str],
) -> int:
    """Replay the recipe over the store, then compute some of its blocks again."""
    ledger = _Reader(url)
    seen: list[Stage] = []

    def fill(stages: tuple[Stage, ...]) -> tuple[Answer, ...]:
        for stage in stages:
            ledger.open(stage)
            seen.append(stage)
        return tuple(ledger.answer(stage.name) for stage in stages)

    tree = drive(recipe(), fill)
    check = study_of(url).get("result_check")
    if check is not None and tree_digest(finish(tree)) != check:
        problems.append(f"{url}: the blocks do not give the result that is kept")
    every = [(stage, block) for stage in seen for block in sorted(ledger.done(stage.name))]
    chosen = random.Random(seed).sample(every, min(sample, len(every)))
    for stage, block in chosen:
        if not _same(ledger, stage, block):
            problems.append(
                f"{url}: stage {stage.name!r}, block {block} gives other numbers "
                "when it is computed again"
            )
    return len(chosen)


def _same(ledger: _Reader, stage: Stage, block: Block) -> bool:
    kept = ledger.arrays(stage.name, block)
    fresh = compute_block(ledger.lend(stage), block)
    return all(kept[name].tobytes() == fresh[name].tobytes() for name in kept)
