"""What came of the trials of an attack, and the command line all attacks share."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

LINE_LIMIT = 400
"""Characters that a message may have."""
CPU_SECONDS = 12
"""Processor time after which a trial hangs."""
WAITING = 10
"""Times the processor time that a trial may wait: for a FIFO, or on a busy machine."""
SHOWN_TRIALS = 3


class HangError(BaseException):
    """A trial took too long; not an Exception, so that nothing under attack catches it."""


class Report:
    """Outcomes by name, and the first failures of each kind."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: dict[tuple[str, str], list[str]] = defaultdict(list)

    def count(self, outcome: str) -> None:
        """Count a trial that came out right."""
        self.outcomes[outcome] += 1

    def fail(self, outcome: str, kind: str, trial: object, details: str = "") -> None:
        """Count a trial that came out wrong."""
        self.outcomes[outcome] += 1
        self.failures[outcome, kind].append(f"trial {trial}: {details}"[:LINE_LIMIT])

    def lines(self) -> list[str]:
        """Return counts and failures, the most frequent kind first."""
        counts = [f"{n:6d}  {outcome}" for outcome, n in sorted(self.outcomes.items())]
        kinds = sorted(self.failures.items(), key=lambda item: -len(item[1]))
        found = [
            f"FAILED {len(trials)} {outcome}: {kind} | {' | '.join(trials[:SHOWN_TRIALS])}"
            for (outcome, kind), trials in kinds
        ]
        return [*counts, *found]


def run_attack(
    attack: Callable[[argparse.Namespace, Path], Report],
    text: str,
    count: int,
    add_options: Callable[[argparse.ArgumentParser], object] = lambda parser: parser,
) -> None:
    """Run an attack in a scratch folder, print its report, leave with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--count", type=int, default=count, help="trials")
    parser.add_argument("--only", type=int, help="the one trial to repeat; its folder stays")
    parser.add_argument("--folder", type=Path, help="where to work; default: a scratch folder")
    add_options(parser)
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp())).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    report = attack(options, folder)
    if options.folder is None and options.only is None:
        shutil.rmtree(folder, ignore_errors=True)
    trials = sum(report.outcomes.values())
    sys.stdout.write(f"seed {options.seed}: {trials} outcomes in {time.time() - began:.0f} s\n")
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.stdout.flush()
    os._exit(1 if report.failures else 0)  # threads of what was attacked may still run


def trial_numbers(options: argparse.Namespace) -> range:
    """Return the numbers of the trials that were chosen."""
    if options.only is not None:
        return range(options.only, options.only + 1)
    return range(options.count)


@contextmanager
def cpu_limit(seconds: float = CPU_SECONDS):
    """Raise HangError in the block after so much processor time, or much waiting."""

    def on_alarm(*_):
        raise HangError

    previous = {each: signal.signal(each, on_alarm) for each in (signal.SIGVTALRM, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)
