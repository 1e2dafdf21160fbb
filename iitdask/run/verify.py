"""Verification of a store: complete, as written, and equal to what is computed again."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import xarray as xr

from iitdask.errors import DamagedStoreError, StoreError
from iitdask.run.execute import run_recipe
from iitdask.run.plan import Tiling
from iitdask.run.result_group import load_result, load_with_structures, store_attrs, tree_digest
from iitdask.run.stage_group import StageGroup, list_stages
from iitdask.run.storage import Store, open_store
from iitdask.run.task import StageContext
from iitdask.run.worker import compute_block
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.stage import Filled, Recipe, Stage


@dataclass(frozen=True, slots=True)
class Verification:
    """Outcome of the verification of a store."""

    stages: int
    blocks: int  # Committed blocks whose checksums were compared
    recomputed: int  # Blocks computed again and compared bit by bit
    problems: tuple[str, ...]  # One line for each problem
    finished: bool  # Whether there is a result
    tidied: bool  # Whether the blocks have been dropped, so that only the result can be verified


class _ReadOnlyLedger(ZarrLedger):
    """A ledger that changes nothing."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._cache_url = store_attrs(store).get("cache")

    def open(self, stage: Stage, block_seconds: float = 0.0) -> Tiling:  # noqa: ARG002
        """Open a stage that is there."""
        wanted = self.lineage(stage)
        store = self.store
        if self._cache_url and stage.name not in list_stages(store):
            store = open_store(f"{self._cache_url}/{stage.name.replace('/', '.')}-{wanted}")
        group = StageGroup.load(store, stage.name)
        if group.layout.lineage != wanted:
            raise StoreError(
                f"stage {stage.name!r} was filled by another version of it or for other inputs"
            )
        self._groups[stage.name] = group
        return group.layout.tiling

    def worker_context(self, stage: Stage) -> StageContext:
        """Return what is needed to compute blocks of a stage, all inputs read."""
        layout, inputs = self.stage(stage.name).layout, self.read_inputs(stage)
        return StageContext.from_stage(stage, layout, self.store.address, None, inputs)


def verify_store(
    store: Store,
    recipe: Callable[[], Recipe],
    finish: Callable[[xr.DataTree], xr.DataTree],
    sample: int = 10,
    seed: int | None = None,
) -> Verification:
    """Verify a store; nothing in it is changed, except that damaged blocks are deleted."""
    attrs = store_attrs(store)
    tidied = "tidied" in attrs
    stages, blocks, problems = (0, 0, []) if tidied else _check_stages(store)
    if "finished" in attrs:
        try:
            load_with_structures(store)
        except StoreError as error:
            problems.append(str(error))
    recomputed = 0
    if not tidied and not problems:
        try:
            ledger = _ReadOnlyLedger(store)
            opened = _replay(ledger, recipe, finish, problems)
            recomputed = _recompute_sample(ledger, opened, sample, seed, problems)
        except StoreError as error:
            problems.append(str(error))
    finished = "finished" in attrs
    return Verification(stages, blocks, recomputed, tuple(problems), finished, tidied)


def _check_stages(store: Store) -> tuple[int, int, list[str]]:
    """Verify all committed blocks; return how many stages and blocks there are, and problems."""
    names, blocks, problems = list_stages(store), 0, list[str]()
    for name in names:
        try:
            group = StageGroup.load(store, name)
        except DamagedStoreError as error:
            problems.append(str(error))
            continue
        done = len(group.done())
        blocks += done
        missing = len(group.layout.tiling) - done
        if missing and not group.layout.partial:
            problems.append(f"{store.url}: stage {name!r}, {missing} block(s) are not filled")
        damaged = group.damaged_blocks()
        if damaged:
            problems.append(str(group.damage_error(damaged)))
            # A run lists what is there, and reads only what it needs.
            with suppress(StoreError, OSError):
                group.delete_blocks(damaged)
    return len(names), blocks, problems


def _replay(
    ledger: _ReadOnlyLedger,
    recipe: Callable[[], Recipe],
    finish: Callable[[xr.DataTree], xr.DataTree],
    problems: list[str],
) -> list[Stage]:
    """Replay the recipe over the store, compare its result and return its stages."""
    opened: list[Stage] = []

    def fill(stages: tuple[Stage, ...]) -> tuple[Filled, ...]:
        for stage in stages:
            ledger.open(stage)
            opened.append(stage)
        return tuple(ledger.read_stage(stage.name) for stage in stages)

    tree = finish(run_recipe(recipe(), fill))
    check = store_attrs(ledger.store).get("result_check")
    if check is not None and tree_digest(tree) != check:
        kept = load_result(ledger.store)
        if tree_digest(_restricted(tree, kept)) != check:
            problems.append(f"{ledger.store.url}: the blocks do not give the result that is kept")
    return opened


def _restricted(tree: xr.DataTree, kept: xr.DataTree) -> xr.DataTree:
    """Return a result without the variables that a kept one, of an earlier version, lacks."""
    nodes = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        known = kept[node.path].variables if node.path in kept.groups else data.variables
        nodes[node.path] = data.drop_vars(set(data.variables) - set(known))
    return xr.DataTree.from_dict(nodes)


def _recompute_sample(
    ledger: _ReadOnlyLedger, stages: list[Stage], sample: int, seed: int | None, problems: list[str]
) -> int:
    """Compute some blocks again and compare them; return how many."""
    every = [(stage, block) for stage in stages for block in sorted(ledger.done(stage.name))]
    chosen = random.Random(seed).sample(every, min(sample, len(every)))
    for stage, block in chosen:
        stored = ledger.read_block(stage.name, block)
        computed = compute_block(ledger.worker_context(stage), block)
        if any(stored[name].tobytes() != computed[name].tobytes() for name in stored):
            problems.append(
                f"{ledger.store.url}: stage {stage.name!r}, block {block} gives other numbers "
                "when it is computed again"
            )
    return len(chosen)
