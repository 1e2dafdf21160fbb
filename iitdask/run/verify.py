"""Verification of a store: complete, as written, and equal to what is computed again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import DamagedStoreError, StoreError
from iitdask.run.checksum import lineage
from iitdask.run.plan import Block, Tiling
from iitdask.run.result_group import load_result, store_attrs, tree_digest
from iitdask.run.stage_group import StageGroup, list_stages
from iitdask.run.storage import absolute_url, open_store
from iitdask.run.task import StageContext
from iitdask.run.worker import compute_block
from iitdask.run.zarr_ledger import ZarrLedger, read_stage_variable
from iitdask.theory.stage import Filled, Recipe, Stage, StageRef, run_recipe

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Verification",
    "verify_store",
]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Verification:
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


class _ReadOnlyLedger(ZarrLedger):
    """A ledger that changes nothing."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._cache = store_attrs(url).get("cache")

    def open(self, stage: Stage, block_seconds: float = 0.0) -> Tiling:  # noqa: ARG002
        """Open a stage that is there."""
        wanted = lineage(stage, lambda name: self._folder(name).layout.lineage)
        url = self.url
        if self._cache and stage.name not in list_stages(self._store):
            url = f"{self._cache}/{stage.name.replace('/', '.')}-{wanted}"
        folder = StageGroup.load(url, stage.name)
        if folder.layout.lineage != wanted:
            raise StoreError(
                f"stage {stage.name!r} was filled by another version of it or for other inputs"
            )
        self._folders[stage.name] = folder
        return folder.layout.tiling

    def worker_context(self, stage: Stage) -> StageContext:
        """Read all inputs: nothing is deposited."""
        inputs = {
            name: read_stage_variable(self._folder(given.stage), given)
            if isinstance(given, StageRef)
            else np.asarray(given)
            for name, given in stage.inputs.items()
        }
        layout = self._folder(stage.name).layout
        return StageContext.of(stage, layout, absolute_url(self.url), None, inputs)


def verify_store(
    url: str,
    recipe: Callable[[], Recipe],
    finish: Callable[[xr.DataTree], xr.DataTree],
    sample: int = 10,
    seed: int | None = None,
) -> Verification:
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
    about = store_attrs(url)
    finished, tidied = "finished" in about, "tidied" in about
    problems = [] if tidied else _stage_problems(url)
    blocks = 0 if tidied else _count_committed_blocks(url)
    stages = 0 if tidied else len(list_stages(open_store(url)))
    if finished:
        try:
            load_result(url)
        except StoreError as error:
            problems.append(str(error))
    recomputed = 0
    if not tidied and not problems:
        try:
            recomputed = _recompute_sample(url, recipe, finish, sample, seed, problems=problems)
        except StoreError as error:
            problems.append(str(error))
    return Verification(stages, blocks, recomputed, tuple(problems), finished, tidied)


def _stage_problems(url: str) -> list[str]:
    problems = []
    for name in list_stages(open_store(url)):
        try:
            folder = StageGroup.load(url, name)
        except DamagedStoreError as error:
            problems.append(str(error))
            continue
        missing = len(folder.layout.tiling) - len(folder.done())
        if missing and not folder.layout.partial:
            problems.append(f"{url}: stage {name!r}, {missing} block(s) are not filled")
        bad = folder.damaged_blocks()
        if bad:
            problems.append(str(folder.damage_error(bad)))
    return problems


def _count_committed_blocks(url: str) -> int:
    total = 0
    for name in list_stages(open_store(url)):
        try:
            total += len(StageGroup.load(url, name).done())
        except DamagedStoreError:
            continue
    return total


def _recompute_sample(
    url: str,
    recipe: Callable[[], Recipe],
    finish: Callable[[xr.DataTree], xr.DataTree],
    sample: int,
    seed: int | None,
    *,
    problems: list[str],
) -> int:
    """Replay the recipe over the store, then compute some of its blocks again."""
    ledger = _ReadOnlyLedger(url)
    seen: list[Stage] = []

    def fill(stages: tuple[Stage, ...]) -> tuple[Filled, ...]:
        for stage in stages:
            ledger.open(stage)
            seen.append(stage)
        return tuple(ledger.answer(stage.name) for stage in stages)

    tree = run_recipe(recipe(), fill)
    check = store_attrs(url).get("result_check")
    if check is not None and tree_digest(finish(tree)) != check:
        problems.append(f"{url}: the blocks do not give the result that is kept")
    every = [(stage, block) for stage in seen for block in sorted(ledger.done(stage.name))]
    chosen = random.Random(seed).sample(every, min(sample, len(every)))
    for stage, block in chosen:
        if not _is_identical(ledger, stage, block):
            problems.append(
                f"{url}: stage {stage.name!r}, block {block} gives other numbers "
                "when it is computed again"
            )
    return len(chosen)


def _is_identical(ledger: _ReadOnlyLedger, stage: Stage, block: Block) -> bool:
    kept = ledger.arrays(stage.name, block)
    fresh = compute_block(ledger.worker_context(stage), block)
    return all(kept[name].tobytes() == fresh[name].tobytes() for name in kept)
