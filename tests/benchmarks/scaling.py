"""A structure on many workers, played: ``python -m tests.benchmarks.scaling [UNITS ...]``.

Stages and blocks are those that the engine plans. Workers, machines and the driver are played, with
fixed costs as measured. ``python -m tests.benchmarks.scaling calibrate`` runs bundles on 64 workers
in this process, and plays the same ones.
"""

import heapq
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr
from distributed import Client, LocalCluster

from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run.engines import DaskEngine
from iitdask.run.events import BlocksFilled
from iitdask.run.execute import execute
from iitdask.run.plan import bundles_to_keep, cell_bytes, plan_bundles, tile
from iitdask.run.shared_arrays import total_bytes
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.iit4.mechanisms import details_stage, find_maximal_causes_effects
from iitdask.theory.marginal_tables import marginals_stage
from iitdask.theory.stage import CumulativeCost, Grid, Stage, Variable

BLOCK_SECONDS = 5.0
UNITS, WORKERS = (14, 15, 16), (64, 300, 1000)
CORES = 50  # Of a machine, one for each worker on it


@dataclass(frozen=True)
class Costs:
    """Seconds beside those of computing, as measured: README.md says how."""

    start: float = 4.9  # A worker process, until it takes bundles
    setup: float = 2.0  # The driver, until the first stage is planned
    tables: float = 1.9e-9  # A byte of tables, by one thread: blocks read, checked, arranged
    table_threads: int = 7  # That make the tables of a machine, as memory is kept for
    checking: float = (
        0.15e-9  # A byte of tables, by one thread; twice by the process that makes them
    )
    pause: float = 0.011  # A worker, between two bundles
    block: float = 0.0015  # A block, its files and its commit record
    written: float = 2.5e-9  # A byte of results, compressed and checked
    bundle: float = 0.0023  # A bundle, in the driver: Dask's scheduler and client, its event
    sent: float = 0.0004  # Of which until a worker has it
    read: float = 0.0012  # A block, read by the driver
    mechanism: float = 3e-5  # A mechanism, in the driver: ties, distinctions, relations, result


@dataclass(frozen=True)
class Bundle:
    """What one task computes."""

    seconds: float
    blocks: int
    nbytes: int  # Of its results


@dataclass(frozen=True)
class Step:
    """Stages that are filled side by side."""

    bundles: tuple[Bundle, ...]  # In the order in which they are handed out
    table_bytes: int = 0  # Of the tables that it needs
    is_read: bool = True  # By the driver


@dataclass(frozen=True)
class Outcome:
    """What a played run takes, wall seconds."""

    workers: int
    seconds: float  # Of computing, all workers together
    wall: float
    tables: float  # Until a machine has its tables
    driver: float  # In which all workers wait for the driver
    idle: float  # Mean of the workers, from their last bundle of a step to the end of that step

    @property
    def efficiency(self):
        """Share of all workers' time in which they compute."""
        return self.seconds / self.workers / self.wall


def planned_steps(units):
    """Yield the stages that a structure of dense units asks for, a step at a time.

    Predicted costs follow from the number of units, so that any system stands for a dense one. All
    mechanisms are taken to be irreducible, without ties.
    """
    ring = [([(i - 1) % units], [[0.9, 0.1], [0.2, 0.8]]) for i in range(units)]
    system = System.build(Substrate.from_factors(ring), "1" * units)
    yield (marginals_stage(system),)
    search = find_maximal_causes_effects(system)
    stages = next(search)
    yield stages
    if len(stages) > 1:
        phi = xr.Variable(("part",), np.zeros(stages[0].grid.shape))
        yield search.send(({"phi": phi}, {}))
    search.close()
    masks = np.arange(1, 1 << units)
    pairs = [np.stack([0 * masks + direction, masks, masks], axis=1) for direction in (0, 1)]
    yield (details_stage(system, np.concatenate(pairs), (0, 0)),)


def planned(stages, workers):
    """Bundle the blocks of the stages of one step as a run on so many workers does."""
    bundles, tables = [], 0
    for stage in stages:
        tiling, least = tile(stage, BLOCK_SECONDS), bundles_to_keep(workers)
        for blocks in plan_bundles(stage, tiling, (), 1.0, BLOCK_SECONDS, min_bundles=least):
            regions = [tiling.region(block) for block in blocks]
            cells = sum(prod(part.stop - part.start for part in region) for region in regions)
            seconds = sum(float(stage.cost(region)) for region in regions)
            bundles.append(Bundle(seconds, len(blocks), cells * cell_bytes(stage)))
        if stage.shared is not None:
            tables = total_bytes(stage.shared.shapes(stage.inputs))
    return Step(tuple(bundles), tables, any(stage.is_read_by_recipe for stage in stages))


def play(steps, workers, costs, mechanisms=0):
    """Give each bundle to the worker that is free first; return what the run takes."""
    now, driver, idle, tables = costs.setup, costs.setup, 0.0, 0.0
    free = [costs.start] * workers
    for step in steps:
        if step.table_bytes and not tables:
            each = (costs.tables + 2 * costs.checking) / costs.table_threads
            tables = step.table_bytes * each
            free = [max(at, now) + tables for at in free]
        queue = [max(at, now) for at in free]
        heapq.heapify(queue)
        # Three bundles a worker are sent before the first is begun; later on the driver is waited
        # for where it cannot keep up.
        first = costs.sent * min(3 * workers, len(step.bundles))
        for number, bundle in enumerate(step.bundles):
            behind = first + costs.bundle * max(0, number - 3 * workers)
            begun = max(queue[0], now + behind)
            files = bundle.blocks * costs.block + bundle.nbytes * costs.written
            ended = begun + bundle.seconds + files + costs.pause
            heapq.heapreplace(queue, ended)
        free, end = queue, max(queue)
        idle += sum(end - at for at in queue) / workers
        # Blocks are read as they come, one after the other.
        reading = step.is_read * costs.read * sum(bundle.blocks for bundle in step.bundles)
        left = max(costs.read, now + reading - end) if step.is_read else 0.0
        driver += left
        now = end + left
    last = costs.mechanism * mechanisms
    seconds = sum(bundle.seconds for step in steps for bundle in step.bundles)
    return Outcome(workers, seconds, now + last, tables, driver + last, idle)


def played_structures(units, counts):
    """Play a structure of so many units on each number of workers."""
    stages = list(planned_steps(units))
    for workers in counts:
        steps = [planned(each, workers) for each in stages]
        yield workers, play(steps, workers, Costs(), 1 << units)


def rest(inputs, region):
    """Take as long as a block was predicted to take."""
    seconds, began = inputs["seconds"][region[0]], time.monotonic()
    time.sleep(float(seconds.sum()))
    thread = np.full(seconds.shape, threading.get_ident())
    times = {"began": began, "ended": time.monotonic()}
    return {"thread": thread, **{name: np.full(seconds.shape, at) for name, at in times.items()}}


def resting(steps, pauses):
    """Recipe of stages whose cells take given seconds each and compute nothing.

    Seconds between two cells of a worker are added to `pauses`.
    """
    for number, seconds in enumerate(steps):
        stage = Stage(
            name=f"step-{number}",
            grid=Grid(("cell",), (len(seconds),)),
            variables=(
                Variable("thread", "int64", 0, "", "Which thread of this process took the cell."),
                Variable("began", "float64", np.nan, "s", "When."),
                Variable("ended", "float64", np.nan, "s", "When it was done."),
            ),
            compute=rest,
            inputs={"seconds": seconds},
            cost=CumulativeCost.from_seconds(seconds),
            min_blocks=len(seconds),
        )
        (filled,) = yield (stage,)
        table = np.stack([filled[name].values for name in ("thread", "began", "ended")])
        for thread in np.unique(table[0]):
            own = table[1:, table[0] == thread]
            own = own[:, np.argsort(own[0])]
            pauses += (own[0, 1:] - own[1, :-1]).tolist()
    return xr.DataTree()


def calibrate(workers=64, rounds=8):
    """Run some bundles of 16 units, several for each worker, and play the same ones."""
    chance, steps = np.random.default_rng(0), []
    for stages in list(planned_steps(16))[1:3]:
        seconds = [bundle.seconds for bundle in planned(stages, 1000).bundles]
        # In a number that is a power of two each cell is a block.
        some = chance.choice(seconds, 1 << int(np.log2(rounds * workers)), replace=False)
        steps.append(np.sort(some)[::-1].copy())
    in_process = {"n_workers": workers, "threads_per_worker": 1, "processes": False}
    events, pauses = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(**in_process, memory_limit=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        ledger, engine = ZarrLedger(open_store(Path(folder, "a.zarr"))), DaskEngine(client)
        execute(resting([np.zeros(64)], []), ZarrLedger(open_store(Path(folder, "b.zarr"))), engine)
        began, used = time.perf_counter(), time.process_time()
        recipe = resting(steps, pauses)
        execute(recipe, ledger, engine, block_seconds=BLOCK_SECONDS, observers=[events.append])
        wall, used = time.perf_counter() - began, time.process_time() - used
    bundles = sum(isinstance(event, BlocksFilled) for event in events)
    each = used / bundles
    pause = float(np.median(pauses))
    costs = replace(Costs(), start=0.0, setup=0.0, bundle=each, sent=each / 5, pause=pause)
    found = play([Step(tuple(Bundle(x, 1, 8) for x in some)) for some in steps], workers, costs)
    whole = sum(map(sum, steps))
    print(f"{bundles} bundles of {whole:.0f} s in all on {workers} workers in this process")
    print(f"processor time of client, scheduler and workers: {1e3 * each:.1f} ms a bundle")
    print(f"median pause of a worker between two bundles: {1e3 * pause:.0f} ms")
    print(f"run {wall:.1f} s, played {found.wall:.1f} s, computing alone {whole / workers:.1f} s")


HEAD = "units | workers | core-seconds | wall, s | efficiency | tables, s | driver, s | idle, s"


def main(words):
    """Print a table of efficiencies, or compare with a real run."""
    if words[:1] == ["calibrate"]:
        calibrate(*map(int, words[1:]))
        return
    print(f"| {HEAD} |\n|{'---|' * (HEAD.count('|') + 1)}")
    for units in map(int, words or UNITS):
        for workers, found in played_structures(units, WORKERS):
            print(
                f"| {units} | {workers} | {found.seconds:.0f} | {found.wall:.1f} "
                f"| {found.efficiency:.2f} | {found.tables:.1f} "
                f"| {found.driver:.1f} | {found.idle:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
