"""What `iitdask work` asks of a store: ``python -m tests.benchmarks.requests [WORKERS ...]``.

Forked processes fill one stage of many short blocks, each with a store that counts. A request is
one key that is read, written, created, looked for or deleted, or one listing.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iitdask.run.coordination import BlockClaims, open_session
from iitdask.run.engines import SharedStoreEngine
from iitdask.run.events import EventLog, publishing
from iitdask.run.execute import execute
from iitdask.run.storage import DirectoryStore, Store, open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.stage import Grid, Stage, Variable

BLOCKS = 960
BLOCK_SECONDS = 0.5
PROCESSES = (1, 4, 16, 48)


@dataclass(frozen=True, slots=True)
class CountingStore(Store):
    """A directory that behaves like an object store and counts the requests."""

    kept: DirectoryStore
    counts: Counter

    @property
    def address(self):
        return self.kept.address

    def read(self, key):
        self.counts["read"] += 1
        return self.kept.read(key)

    def read_many(self, keys):
        for key in keys:
            yield key, self.read(key)

    def write_many(self, contents):
        self.counts["write"] += len(contents)
        self.kept.write_many(contents)

    def create(self, key, content):
        self.counts["create"] += 1
        return self.kept.create(key, content)

    def exists(self, key):
        self.counts["look"] += 1
        return self.kept.exists(key)

    def delete(self, key):
        self.counts["delete"] += 1
        self.kept.delete(key)

    def delete_prefix(self, path):
        self.counts["delete"] += 1
        self.kept.delete_prefix(path)

    def list_dir(self, path):
        self.counts["list"] += 1
        return self.kept.list_dir(path)

    def delete_groups(self, path):
        self.counts["delete"] += 1
        self.kept.delete_groups(path)


def counting(folder):
    kept = open_store(folder)
    return CountingStore(kept.url, kept.zarr, kept, Counter())


def wait(inputs, region):
    time.sleep(float(inputs["seconds"][0]) * (region[0].stop - region[0].start))
    return {"x": np.arange(region[0].start, region[0].stop, dtype=float)}


def seconds_of(region):
    return 5.0 * (region[0].stop - region[0].start)


def waiting(blocks, seconds):
    """Recipe of one stage whose blocks take so long and compute nothing."""
    variable = Variable("x", "float64", float("nan"), "1", "The cell.")
    stage = Stage(
        name="wait",
        grid=Grid(("cell",), (blocks,)),
        variables=(variable,),
        compute=wait,
        inputs={"seconds": np.array([seconds])},
        cost=seconds_of,
    )
    (filled,) = yield (stage,)
    return filled["x"].values


def take_part(store, blocks, seconds):
    """Fill the stage beside others, as `run_shared` does; return the numbers."""
    with open_session(store, join=True) as session, publishing(session) as activity:
        claims, log = BlockClaims(session), EventLog(session)
        log.start({})
        ledger = ZarrLedger(store, claims=claims)
        engine = SharedStoreEngine(claims, activity=activity)
        return execute(waiting(blocks, seconds), ledger, engine, observers=[log])


def requests(workers, blocks=BLOCKS, seconds=BLOCK_SECONDS):
    """Return the requests of all processes by kind, and the wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started, children = time.perf_counter(), []
        for number in range(workers):
            child = os.fork()
            if not child:
                store = counting(f"{folder}/s.zarr")
                filled = take_part(store, blocks, seconds)
                assert np.array_equal(filled, np.arange(blocks, dtype=float))
                Path(folder, f"{number}.json").write_text(json.dumps(store.counts))
                os._exit(0)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0] * workers
        total = Counter()
        for number in range(workers):
            total.update(json.loads(Path(folder, f"{number}.json").read_text()))
        return total, time.perf_counter() - started


def main(words):
    """Print a line for each number of processes."""
    print("processes | requests a block | of which | wall s (blocks alone)")
    for workers in map(int, words or PROCESSES):
        total, wall = requests(workers)
        kinds = ", ".join(f"{kind} {count / BLOCKS:.2f}" for kind, count in total.most_common())
        alone = BLOCKS * BLOCK_SECONDS / workers
        print(f"{workers} | {total.total() / BLOCKS:.1f} | {kinds} | {wall:.1f} ({alone:.1f})")


if __name__ == "__main__":
    main(sys.argv[1:])
