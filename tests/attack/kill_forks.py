"""Kill, interrupt and stop runs at random moments, as forks of one process: hundreds in minutes.

`run`: one driver with threads at a time, on one system; `sweep`: the same on a sweep; `work`:
three `iitdask work`; `both`: one `run --join` and two `work`. No finished block may go or be
computed again, every run must end in the bits of one that nothing disturbed, and every process
must leave with the right code and without a traceback.
"""

import os
import shutil
import signal
import time
from random import Random

import yaml

from iitdask.study.run import job_from_study, prepare_store
from iitdask.study.spec import read_study
from tests.attack.forks import call_in_fork, fork, import_everything, main
from tests.attack.report import Report, run_attack
from tests.run.processes import ticks, write_study

SWEEP = {
    "compute": "ces",
    "theory": "iit4",
    "sweep": {
        "substrate": {
            "family": "erdos-renyi",
            "n": 4,
            "p": 0.6,
            "count": 150,
            "seed": 2026,
            "gates": [{"gate": "AND", "noise": 0.02}, {"gate": "XOR", "noise": 0.02}, "OR"],
        },
        "state": "all",
    },
    "run": {"block_seconds": 0.02},
}
RUN = ["run", "study.yaml", "--store", "run.zarr", "--quiet"]
WORK = ["work", "run.zarr", "--spec", "study.yaml", "--quiet"]
TEAMS = {"run": [RUN], "sweep": [RUN], "work": [WORK] * 3, "both": [[*RUN, "--join"], WORK, WORK]}
FAMILIES = ["iit4", "sweep-ces"]
PATIENCE_SECONDS = 300
LONG_SECONDS = 600
RIGHT_CODES = {signal.SIGKILL: (-9, 0), signal.SIGTERM: (130, 0), signal.SIGINT: (130, 0)}


def chunks(store):
    """Return the bytes of every chunk of a result, those of measured seconds aside."""
    paths = sorted((store / "result").rglob("c*"))
    return {
        path.relative_to(store): path.read_bytes()
        for path in paths
        if path.is_file() and "seconds" not in path.parts and ".partial" not in path.name
    }


def marks(store):
    """Return inode and time of every finished block: they change when one is written again."""
    found = {}
    for path in ticks(store) if store.exists() else ():
        about = path.stat()
        found[path] = (about.st_ino, about.st_mtime_ns)
    return found


def exit_code(status):
    """Return an exit code, or the negative number of a signal."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


class Run:
    """One store that is run, killed and run again until it is finished."""

    def __init__(self, options, folder, report):
        self.options, self.folder, self.report = options, folder, report
        self.r = Random(f"{options.seed}-{options.mode}")
        self.store, self.log = folder / "run.zarr", folder / "log"
        self.kills, self.marks = 0, {}
        self.truth = folder / "truth.zarr"
        began = time.monotonic()
        words = ["run", "study.yaml", "--store", "truth.zarr", "--quiet"]
        ended = call_in_fork(words, folder, LONG_SECONDS)
        assert ended.code == 0, ended.err
        self.seconds = time.monotonic() - began
        self.expected = chunks(self.truth)

    def fail(self, outcome, kind):
        text = self.log.read_text(errors="replace")[-200:] if self.log.exists() else ""
        self.report.fail(outcome, str(kind), self.kills, " ".join(text.split()))

    def start(self, words):
        return fork(lambda: main(list(words)), self.folder, os.devnull, self.log)

    def wait(self, pid):
        """Wait for a process and return its code; None if it does not end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return exit_code(status)
            time.sleep(0.01)
        self.fail("hang", self.options.mode)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None

    def send_signal(self, pid):
        """Send a process one of the signals; return which."""
        if self.r.random() < 0.08:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.r.uniform(0, 2))
            os.kill(pid, signal.SIGCONT)
            self.report.count("signal STOP, then CONT")
            self.kills += 1
            return None
        number = self.r.choices(list(RIGHT_CODES), [8, 1, 1])[0]
        os.kill(pid, number)
        self.report.count(f"signal {number.name}")
        self.kills += 1
        return number

    def compare_blocks(self, is_alone):
        """Compare the finished blocks with those seen before."""
        now = marks(self.store)
        for path, mark in self.marks.items():
            if path not in now:
                self.fail("block gone", path.name)
            elif now[path] != mark:
                # Two processes may fill one block where one was taken for dead.
                if is_alone:
                    self.fail("block computed again", path.name)
                else:
                    self.report.count("block filled by two processes at once")
        self.marks = now

    def check_log(self):
        if self.log.exists() and "Traceback" in self.log.read_text(errors="replace"):
            self.fail("traceback", self.options.mode)
        self.log.unlink(missing_ok=True)

    def compare_result(self):
        """Compare a finished store with the one that nothing disturbed, and verify it."""
        if chunks(self.store) != self.expected:
            self.fail("other result", self.options.mode)
        ended = call_in_fork(["verify", "run.zarr"], self.folder, LONG_SECONDS)
        if ended.code:
            self.fail("does not verify", ended.site)
        if list(self.store.rglob("*.partial")) and self.options.mode in ("work", "both"):
            # Of one killed after all others had ended, which only the next run can see.
            self.report.count("partial files of the last process killed")
            call_in_fork(RUN, self.folder, LONG_SECONDS)
        if list(self.store.rglob("*.partial")):
            self.fail("partial files left", self.options.mode)
        self.report.count("finished and compared")
        shutil.rmtree(self.store)
        self.marks = {}

    def live_alone(self):
        """One life of one driver."""
        pid = self.start(RUN)
        time.sleep(self.r.uniform(0, self.seconds * self.r.choice([0.3, 1, 1])))
        ended, status = os.waitpid(pid, os.WNOHANG)
        number = None
        if not ended:
            number = self.send_signal(pid)
        code = exit_code(status) if ended else self.wait(pid)
        if code not in RIGHT_CODES.get(number, (0,)):
            self.fail("wrong exit code", f"{number}: {code}")
        self.check_log()
        self.compare_blocks(is_alone=True)
        if code == 0:
            self.compare_result()

    def live_together(self):
        """The lives of three processes until one says that the store is finished."""
        if not self.store.exists():
            pid = fork(self.prepare, self.folder, os.devnull, self.log)
            assert self.wait(pid) == 0, self.log.read_text()
        team = TEAMS[self.options.mode]
        living = {self.start(words): words for words in team}
        deadline, is_done = time.monotonic() + PATIENCE_SECONDS, False
        while living and time.monotonic() < deadline:
            time.sleep(self.r.uniform(0.02, self.seconds / 2))
            if not is_done and self.kills < self.options.count:
                self.send_signal(self.r.choice(list(living)))
            for pid in list(living):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    words, code = living.pop(pid), exit_code(status)
                    is_done |= code == 0
                    if code not in (0, 130, -9):
                        self.fail("wrong exit code", code)
                    if code and not is_done:
                        living[self.start(words)] = words
        for pid in living:
            self.fail("hang", self.options.mode)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.check_log()
        if is_done:
            self.compare_result()

    def prepare(self):
        study, folder = read_study("study.yaml")
        prepare_store("run.zarr", job_from_study(study, folder, "study.yaml"), 0.003)


def attack(options, folder):
    """Kill runs until there were enough kills."""
    import_everything(FAMILIES)
    if options.mode == "sweep":
        (folder / "study.yaml").write_text(yaml.safe_dump(SWEEP))
    else:
        write_study(folder, options.units, 7, 0.003)
    report = Report()
    run = Run(options, folder, report)
    live = run.live_alone if options.mode in ("run", "sweep") else run.live_together
    while run.kills < options.count or run.store.exists():
        live()
    return report


def add_options(parser):
    """Add what only this attack can be asked."""
    parser.add_argument("--mode", choices=list(TEAMS), default="run")
    parser.add_argument("--units", type=int, default=9)


if __name__ == "__main__":
    run_attack(attack, __doc__, 50, add_options)
