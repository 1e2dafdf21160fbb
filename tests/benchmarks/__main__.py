"""Print a table of times, and append it to the history: ``python -m tests.benchmarks``."""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
HISTORY = HERE / "history.json"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def measure(kind: str, n: int, what: str, repeats: int) -> dict:
    """Seconds of one computation, stage by stage, warm, in this process."""
    import iitdask as iit
    from iitdask.model.system import System
    from iitdask.study.problem import Problem
    from iitdask.study.run import precompile, run_job
    from tests.benchmarks.systems import system

    for family in ("iit4", "iit4-large"):
        precompile(family)
    substrate, state = system(kind, n)
    point = Problem(System.build(substrate, state), iit.IIT4(), what)
    runs, stages = [], {}

    def watch(event):
        if type(event).__name__ == "StageCompleted":
            stages.setdefault(event.stage, []).append(event.seconds)

    tree = None
    for _ in range(repeats):
        began = time.perf_counter()
        tree = run_job(point, observers=(watch,))
        runs.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    base = 6 if what == "ces" else 4
    return {
        "kind": kind,
        "n": n,
        "what": what,
        "seconds": median(runs),
        "least": min(runs),
        "repeats": repeats,
        "stages": {name: median(values) for name, values in stages.items()},
        "ns_per_element": median(runs) * 1e9 / base**n,
        "element": f"{base}^n",
        "peak_mb": round(peak),
        "search": dict(tree.attrs.get("search", {})),
    }


def measure_baseline(folder: str, kind: str, n: int, repeats: int) -> dict:
    """Seconds of a baseline, warm, in this process: all mechanisms in both directions, no more.

    The folder holds a module ``mechanisms`` with ``prep(on, state)``, which makes its tables, and
    ``allm3(*tables, first, last, which, phi, counts)``, which searches.
    """
    import numpy as np

    from iitdask.model.system import System
    from tests.benchmarks.systems import system

    sys.path.insert(0, folder)
    from mechanisms import allm3, prep

    runs = []
    for units in (3, *[n] * repeats):
        substrate, state = system(kind, units)
        given = System.build(substrate, state)
        on = np.ascontiguousarray(given.effect[:, 1::2])
        began = time.perf_counter()
        tables = prep(on, given.code)
        for which in (0, 1):
            phi, counts = np.zeros((1 << units, 2)), np.zeros(4, np.int64)
            allm3(*tables, 1, 1 << units, which, phi, counts)
        runs.append(time.perf_counter() - began)
    return {"seconds": median(runs[1:])}


def in_own_process(*words: str) -> dict:
    """The same in a fresh process of one thread, so that peak memory is its own."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    command = [sys.executable, "-m", "tests.benchmarks", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ces", default="6,8,9,10", help="units of the ces runs")
    parser.add_argument("--sia", default="6,8,10,12", help="units of the sia runs")
    parser.add_argument("--kinds", default="dense,ising,deterministic")
    parser.add_argument(
        "--baseline",
        default=os.environ.get("IITDASK_BASELINE"),
        help="folder of another implementation that is timed beside ours, see measure_baseline",
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--other", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.other:
        kind, n, repeats = given.other
        print(json.dumps(measure_baseline(given.baseline, kind, int(n), int(repeats))))
        return
    if given.one:
        kind, n, what, repeats = given.one
        print(json.dumps(measure(kind, int(n), what, int(repeats))))
        return
    reference = json.loads((HERE / "reference.json").read_text())
    head = f"{'what':5}{'n':>3} {'kind':14}{'seconds':>10}{'least':>10}{'ns/element':>12}{'MB':>7}"
    print(f"{head}{'reference s':>13}{'ours/baseline':>15}  stages")
    rows = []
    for what, units in (("sia", given.sia), ("ces", given.ces)):
        for n in (int(x) for x in units.split(",") if x):
            for kind in given.kinds.split(","):
                repeats = "25" if n <= 8 else "5" if n <= 10 else "1"
                row = in_own_process("--one", kind, str(n), what, repeats)
                ratio = ""
                if given.baseline and what == "ces":
                    beside = ("--baseline", given.baseline, "--other", kind, str(n), repeats)
                    row["baseline_seconds"] = in_own_process(*beside)["seconds"]
                    ratio = f"{row['seconds'] / row['baseline_seconds']:.2f}"
                rows.append(row)
                known = reference[what].get(str(n), "")
                dear = ", ".join(f"{k} {v:.3f}" for k, v in row["stages"].items() if v > 0.001)
                print(
                    f"{what:5}{n:3} {kind:14}{row['seconds']:10.4f}{row['least']:10.4f}"
                    f"{row['ns_per_element']:12.2f}{row['peak_mb']:7}{known:>13}{ratio:>15}"
                    f"  {dear}",
                    flush=True,
                )
    history = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
    history.append(
        {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "rows": rows,
        }
    )
    HISTORY.write_text(json.dumps(history, indent=1) + "\n")


if __name__ == "__main__":
    main()
