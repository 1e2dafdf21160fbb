"""What the engine costs: ``python -m tests.benchmarks.engine [NAME ...]`` prints a table.

Nothing here asserts: times depend on the machine, and CI machines are shared.
Names are `overhead`, `trivial`, `speedup`, `forecast` and `cluster`.
"""

import heapq
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import xarray as xr

from iitdask.cluster.local import local
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.events import BlocksFilled
from iitdask.run.execute import execute
from iitdask.run.plan import plan_bundles, tile
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.study.problem import Problem
from iitdask.study.run import estimate_job, precompile, run_job
from iitdask.theory.catalog import build_recipe, theory_options
from iitdask.theory.iit4.mechanisms import mice_stage
from iitdask.theory.stage import Grid, Stage, Variable
from tests.benchmarks.systems import system


def dense(n, seed=1):
    """Every unit depends on every other, with noise."""
    chance = np.random.default_rng(seed)
    return Substrate.from_tpm(chance.uniform(0.05, 0.95, (2**n, n)))


def sparse(n, seed=1):
    """Each unit follows two others, with noise."""
    chance = np.random.default_rng(seed)
    tables = chance.uniform(0.05, 0.95, (n, 2, 2))
    return Substrate.from_factors(
        [
            ([(i - 1) % n, (i + 1) % n], np.stack([1 - tables[i], tables[i]], axis=-1))
            for i in range(n)
        ]
    )


def deterministic(n, seed=1):
    """A random function of the state; the current state is an image."""
    chance = np.random.default_rng(seed)
    return Substrate.from_tpm(chance.integers(0, 2, (2**n, n)).astype(float))


def point(substrate, state=None):
    n = substrate.n_units
    return Problem(System.build(substrate, state or "1" * n), theory_options("iit4"), "ces")


def image(substrate):
    """A state that the substrate can be in."""
    on = [int(f.table[(0,) * len(f.parents)][1] > 0.5) for f in substrate.factors]
    return "".join(map(str, on))


def busy(inputs, region):
    """Work for a given time, as a kernel would."""
    until = time.perf_counter() + float(inputs["seconds"][0])
    count = region[0].stop - region[0].start
    while time.perf_counter() < until:
        pass
    return {"x": np.arange(region[0].start, region[0].stop, dtype=float)[:count]}


def line(length, seconds):
    """A stage of equal cells."""
    stage = Stage(
        name="line",
        grid=Grid(("cell",), (length,)),
        variables=(Variable("x", "float64", float("nan"), "", "The number of the cell."),),
        compute=busy,
        inputs={"seconds": np.array([seconds])},
        cost=lambda region: seconds * (region[0].stop - region[0].start),
    )
    (found,) = yield (stage,)
    return xr.DataTree.from_dict({"/": xr.Dataset(found)})


def overhead(folder):
    """Blocks of five seconds on one worker: wall against kernel time."""
    with local(1) as client:
        ledger = ZarrLedger(open_store(folder / "five.zarr"))
        began = time.perf_counter()
        events = []
        execute(
            line(8, 5.0), ledger, DaskEngine(client), block_seconds=5.0, observers=[events.append]
        )
        wall = time.perf_counter() - began
    inside = sum(each.seconds for each in events if isinstance(each, BlocksFilled))
    yield "blocks of 5 s on 1 worker", f"{inside:.1f} s in blocks", f"{wall:.1f} s wall"
    yield "engine overhead", "", f"{100 * (wall / inside - 1):.2f} %"


def many(count):
    """Stages of 20 000 blocks, the most a stage may have."""

    def trivial():
        stages = []
        for k in range(-(-count // 20_000)):
            stage = Stage(
                name=f"trivial-{k}",
                grid=Grid(("cell",), (min(20_000, count - 20_000 * k),)),
                variables=(Variable("x", "float64", float("nan"), "", "The number of the cell."),),
                compute=busy,
                inputs={"seconds": np.array([0.0])},
                cost=lambda region: 1.0 * (region[0].stop - region[0].start),
            )
            stages.append(stage)
            yield (stage,)
        return xr.DataTree()

    return trivial()


def cpu(who):
    """Processor seconds, which other processes on the machine leave alone."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def trivial(folder, count=100_000):
    """A hundred thousand blocks that compute nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    with local(2) as client:
        ledger = ZarrLedger(open_store(folder / "trivial.zarr"))
        began = time.perf_counter()
        events = []
        # One cell a block; bundles are made of what they measure, which is next to nothing.
        execute(
            many(count), ledger, DaskEngine(client), block_seconds=1.0, observers=[events.append]
        )
        wall = time.perf_counter() - began
    done = sum(each.blocks for each in events if isinstance(each, BlocksFilled))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    # The cluster is closed: its workers count among the children that have ended.
    own, theirs = (cpu(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    yield f"{done} trivial blocks, 2 workers", f"{wall:.0f} s", f"{1e3 * wall / done:.2f} ms each"
    yield "processor time of client and workers", f"{own:.0f} s", f"{theirs:.0f} s"
    yield "client memory (scheduler in it)", f"{before:.0f} MB before", f"{peak:.0f} MB at most"


def speedup(folder):
    """The same structure on one worker and on two, and what two processes gain at all.

    The last is the same computation in memory in one worker, then in both at once, each
    its own: two cores that share caches, memory and heat do not do twice as much.
    """
    for units, block_seconds in ((10, 0.05), (12, 0.5)):
        work = point(dense(units))
        walls, gain = {}, 0.0
        for workers in (1, 2):
            with local(workers) as client:
                client.run(compiled)
                took = []
                for again in range(3):
                    store = folder / f"{units}-{workers}-{again}.zarr"
                    began = time.perf_counter()
                    run_job(work, client=client, store=store, block_seconds=block_seconds)
                    took.append(time.perf_counter() - began)
                walls[workers] = statistics.median(took)
                yield (
                    f"ces of {units} dense units, {workers} worker(s)",
                    "median of 3 runs",
                    f"{walls[workers]:.2f} s",
                )
                if workers == 2:
                    gain = 2 * in_memory(client, work, 1) / in_memory(client, work, 2)
        yield "speed-up of 2 workers", "", f"{walls[1] / walls[2]:.2f}"
        yield "two bare processes against one", "", f"{gain:.2f}"


def compiled():
    """Load the kernels of both families."""
    for family in ("iit4", "iit4-large"):
        precompile(family)


def in_memory(client, work, count):
    """Seconds until so many workers have each computed all of it, median of three."""
    workers = list(client.nthreads())[:count]
    took = []
    for _ in range(3):
        began = time.perf_counter()
        client.gather([client.submit(bare, work, workers=[w], pure=False) for w in workers])
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def bare(work):
    """Compute without a store; what comes out stays where it is."""
    run_job(work)


def ising(n, seed=1):
    """Logistic units with normal weights."""
    return system("ising", n, seed)[0]


def forecast(folder):
    """Forecast against actual: the blocks, and the run as a whole, in processor seconds.

    Both are timed by this process's processor time, one thread without a cluster: what
    other processes on the machine take would otherwise be in one and not in the other.
    """
    kinds = {"deterministic": deterministic, "sparse": sparse, "dense": dense, "ising": ising}
    for name, make in kinds.items():
        for n in (8, 9, 10):
            substrate = make(n)
            work = point(substrate, image(substrate) if name == "deterministic" else None)
            with mock.patch("time.perf_counter", time.process_time):
                found = estimate_job(work)
                events = []
                began = time.process_time()
                run_job(work, store=folder / f"{name}-{n}.zarr", observers=[events.append])
                whole_run = time.process_time() - began
            blocks = sum(e.seconds for e in events if isinstance(e, BlocksFilled))
            guess = found.core_seconds - found.overhead_seconds
            low, high = found.low - found.overhead_seconds, found.high
            inside = "inside" if low <= blocks <= high else "outside"
            wall = found.wall_seconds(1)
            yield (
                f"{name} n={n}, blocks",
                f"forecast {guess:.3f} s",
                f"actual {blocks:.3f} s, ratio {blocks / guess:.2f}, {inside} the interval",
            )
            yield (
                f"{name} n={n}, run on 1 worker",
                f"forecast {wall:.3f} s",
                f"actual {whole_run:.3f} s, ratio {whole_run / wall:.2f}",
            )


def played(bundles, workers, handing=0.003):
    """Play bundles on workers, dearest first, each to the worker that is free first.

    The scheduler hands out one bundle after the other, `handing` seconds each; the
    window keeps the next ones waiting at the workers, so that only the first round
    and a scheduler that cannot keep up cost anything.

    Returns wall seconds, and those at the end in which some worker was idle.
    """
    free = [0.0] * workers
    for number, seconds in enumerate(bundles):
        ready = handing * max(number + 1 - 2 * workers, min(number + 1, workers))
        heapq.heapreplace(free, max(free[0], ready) + seconds)
    return max(free), max(free) - min(free)


def cluster(_folder):
    """Blocks as measured on this machine, played on many workers."""
    units = 13
    large = System.build(dense(units), "1" * units)
    small = System.build(dense(10), "1" * 10)
    ratios = np.array(measured_ratios(small))
    stage = mice_stage(large)
    chance = np.random.default_rng(0)
    yield (
        "measured / predicted of mice blocks",
        f"{len(ratios)} blocks",
        f"{ratios.mean():.2f} +- {ratios.std():.2f}",
    )
    # The costs of 13 units, scaled to what keeps a thousand workers for an hour.
    for block_seconds in (5.0, 30.0):
        factor = 1000 * 3600 / float(stage.cost(whole(stage)))
        scaled = replace(stage, cost=Scaled(stage.cost, factor))
        tiling = tile(scaled, block_seconds)
        bundles = [b.cost for b in plan_bundles(scaled, tiling, (), 1.0, block_seconds)]
        costs = np.array(bundles) * chance.choice(ratios / ratios.mean(), len(bundles))
        for workers in (10, 100, 1000):
            wall, tail = played(costs.tolist(), workers)
            efficiency = costs.sum() / (workers * wall)
            yield (
                f"{workers} workers, {len(bundles)} bundles of <= {max(bundles):.0f} s",
                f"{wall / 3600:.2f} h",
                f"{100 * efficiency:.1f} % busy, tail {tail:.0f} s",
            )


class Scaled:
    """A cost model times a factor."""

    def __init__(self, cost, factor):
        self.cost, self.factor = cost, factor

    def __call__(self, region):
        return self.factor * self.cost(region)


def whole(stage):
    return tuple(slice(0, n) for n in stage.grid.shape)


def measured_ratios(measured):
    """Measured over predicted seconds of every block of a small run."""
    options = theory_options("iit4")
    with tempfile.TemporaryDirectory() as folder:
        ledger = ZarrLedger(open_store(f"{folder}/measured.zarr"))
        execute(build_recipe("ces", measured, options), ledger, SerialEngine(), block_seconds=0.02)
        stage = mice_stage(measured)
        tiling = ledger.open(stage, 0.02)
        ticks = ledger.block_seconds("mice")
    return [s / stage.cost(tiling.region(b)) for b, s in ticks.items()]


BENCHMARKS = {
    "overhead": overhead,
    "trivial": trivial,
    "speedup": speedup,
    "forecast": forecast,
    "cluster": cluster,
}


def main(names):
    compiled()
    print(f"{'what':<46}{'':<30}result")
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            for what, detail, result in BENCHMARKS[name](Path(folder)):
                print(f"{what:<46}{detail:<30}{result}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
