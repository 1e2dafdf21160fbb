"""Run the benchmark: ``python -m workflows.phibench.analyse RESULTS.csv [OUTPUT.md] [options]``."""

from __future__ import annotations

import argparse
import csv
import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

import iitdask as iit
from iitdask.errors import IdleEdgesWarning, LargeRunWarning
from workflows.phibench import report
from workflows.phibench.graphs import SIZES, read

RULES = ("or", "and", "majority", "xor")
NETWORKS = 50  # Of a configuration
UNFINISHED_TOPOLOGIES = ("barabasi_albert", "modular", "ring_lattice", "random_geometric")
COLUMNS = (
    *("network_id", "topology", "n_nodes", "n_edges", "density", "phi", "computation_time"),
    *("timestamp", "tpm_rule", "state"),
)
Engine = Callable[[np.ndarray, np.ndarray, tuple[int, ...]], float]


@dataclass(frozen=True)
class Case:
    """One configuration of the benchmark: a graph and a rule, which 50 networks have."""

    name: str
    topology: str
    n: int  # Size that was asked for
    rule: str
    connections: np.ndarray  # (N, N) [from, to]

    @property
    def state(self) -> tuple[int, ...]:
        """All units on; all off where no state leads to that."""
        n = len(self.connections)
        return (0,) * n if self.rule == "xor" and n % 2 else (1,) * n

    @property
    def tpm(self) -> np.ndarray:
        """``(2,) * N + (N,)`` P(unit on), averaged over units that the graph does not connect.

        The rule is that of a ring, whatever the graph: of a unit and the one before it, for a
        majority also the one after it.
        """
        n = len(self.connections)
        states = np.arange(2**n)[:, None] >> np.arange(n) & 1
        before, after = np.roll(states, 1, axis=1), np.roll(states, -1, axis=1)
        on = {
            "or": states | before,
            "and": states & before,
            "xor": states ^ before,
            "majority": (states + before + after >= 2).astype(int),
        }[self.rule]
        table = on.reshape((2,) * n + (n,), order="F").astype(float)
        for i in range(n):
            for j in np.flatnonzero(self.connections[:, i] == 0).tolist():
                table[..., i] = table[..., i].mean(axis=j, keepdims=True)
        return table


def cases(sizes: tuple[int, ...] = SIZES, rules: tuple[str, ...] = RULES) -> Iterator[Case]:
    """Yield the configurations of the published run; it ended before the last 14 of majority."""
    for rule in rules:
        for name, n, topology, connections in read():
            dense = topology == "watts_strogatz" and "_k4_" in name
            ended = rule == "majority" and n == 8 and (dense or topology in UNFINISHED_TOPOLOGIES)
            if n in sizes and not ended:
                yield Case(name, topology, n, rule, connections)


def iitdask_phi(tpm: np.ndarray, connections: np.ndarray, state: tuple[int, ...]) -> float:
    """Big Phi (IIT 3.0) of a whole network, from its table to the value, as for peers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdleEdgesWarning)
        warnings.simplefilter("ignore", LargeRunWarning)
        substrate = iit.Substrate.from_tpm(tpm, connections)
        return float(iit.sia(substrate, state, theory=iit.IIT3(background="2014"))["phi"])


def find_engine(name: str) -> Engine:
    """Return the function that `package.module:function` names."""
    module, _, function = name.partition(":")
    return iitdask_phi if name == "iitdask" else getattr(importlib.import_module(module), function)


def forecast(chosen: list[Case]) -> tuple[float, float]:
    """Return an interval for the core-seconds of computing each configuration once."""
    low = high = 0.0
    for n in sorted({case.n for case in chosen}):
        own = [case for case in chosen if case.n == n]
        example = next((c for c in own if c.name == f"watts_strogatz_n{n}_k2_p0.0"), own[0])
        block = {"tpm": example.tpm.tolist(), "cm": example.connections.tolist()}
        study = {"compute": "sia", "theory": "iit3", "substrate": block, "state": example.state}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdleEdgesWarning)
            found = iit.estimate(study)
        connected = sum(is_strongly_connected(case.connections) for case in own)
        low, high = low + connected * found.low, high + connected * found.high
    return low, high


def is_strongly_connected(connections: np.ndarray) -> bool:
    """Whether every unit reaches every other; all else has Phi 0 without a search."""
    n = len(connections)
    paths = np.linalg.matrix_power(np.eye(n, dtype=int) + (connections > 0), n)
    return bool((paths > 0).all())


def rows(case: Case, engine: Engine, repeats: int) -> Iterator[dict[str, object]]:
    """Compute a configuration and yield one row for each of its networks.

    The networks of a configuration are the same; those beyond the first `repeats` get the median
    of the seconds of these.
    """
    n = len(case.connections)
    edges = int(case.connections.sum())
    phi, seconds = 0.0, list[float]()
    for number in range(NETWORKS):
        if number < repeats:
            tpm, begin = case.tpm, time.process_time()
            phi = engine(tpm, case.connections, case.state)
            seconds.append(time.process_time() - begin)
        yield {
            "network_id": f"{case.name}_{number:02d}",
            "topology": case.topology,
            "n_nodes": n,
            "n_edges": edges,
            "density": edges / (n * (n - 1)),
            "phi": phi,
            "computation_time": seconds[number] if number < repeats else float(np.median(seconds)),
            "timestamp": datetime.now().isoformat(),
            "tpm_rule": case.rule,
            "state": "[" + " ".join(map(str, case.state)) + "]",
        }


def finished(path: Path) -> set[tuple[str, str]]:
    """Return configuration and rule of what a file has all rows of; drop what it has in part."""
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        known = list(csv.DictReader(file))
    counts: dict[tuple[str, str], int] = {}
    for row in known:
        key = row["network_id"].rpartition("_")[0], row["tpm_rule"]
        counts[key] = counts.get(key, 0) + 1
    whole = {key for key, count in counts.items() if count == NETWORKS}
    kept = [r for r in known if (r["network_id"].rpartition("_")[0], r["tpm_rule"]) in whole]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(kept)
    return whole


def run(path: Path, chosen: list[Case], engine: Engine, repeats: int = 1) -> None:
    """Compute what a file lacks, and write as it goes."""
    done, is_new = finished(path), not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            table.writeheader()
        for case in chosen:
            if (case.name, case.rule) not in done:
                table.writerows(rows(case, engine, repeats))
                file.flush()


def warm_up(engine: Engine, sizes: tuple[int, ...]) -> float:
    """Compute a ring of each size below 7, so that nothing is compiled later; return seconds."""
    begin = time.process_time()
    for n in (n for n in sizes if n < 7):
        case = Case("", "", n, "majority", ring(n))
        engine(case.tpm, case.connections, case.state)
    return time.process_time() - begin


def ring(n: int) -> np.ndarray:
    """Return the connections of a ring both ways."""
    one = np.roll(np.eye(n, dtype=int), 1, axis=1)
    return one | one.T


def main(words: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m workflows.phibench.analyse", description=__doc__
    )
    parser.add_argument("results", type=Path, help="CSV file; what it has is not computed again")
    parser.add_argument("output", type=Path, nargs="?", help="Markdown page with the comparison")
    parser.add_argument("--sizes", default="4,5,6,7,8", help="numbers of units")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--engine", default="iitdask", help="iitdask, or package.module:function")
    parser.add_argument(
        "--repeats",
        type=int,
        default=1,
        help="networks of a configuration that are computed, of 50",
    )
    given = parser.parse_args(words)
    sizes = tuple(int(word) for word in given.sizes.split(","))
    chosen = list(cases(sizes, tuple(given.rules.split(","))))
    engine = find_engine(given.engine)
    print(f"warm-up: {warm_up(engine, (4, *sizes)):.1f} core-seconds")
    if given.engine == "iitdask":
        low, high = forecast(chosen)
        print(f"forecast: {low:.0f} to {high:.0f} core-seconds to compute each configuration once")
    run(given.results, chosen, engine, given.repeats)
    text = report.page(given.results)
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
