"""Kill, stop and interrupt real processes of a run at random moments; go on until it is done.

`local`: a driver with two worker processes; `scheduler`: a Dask scheduler, two workers and a
driver, each a process of its own; `work`: three `iitdask work`. Checked as in `kill_forks`, and
that nothing outlives its driver.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from random import Random

import psutil

from iitdask.study.run import job_from_study, prepare_store
from iitdask.study.spec import read_study
from tests.attack.kill_forks import chunks, marks
from tests.attack.report import Report, run_attack
from tests.run.processes import call, end, environment, start, workers_of, write_study

PATIENCE_SECONDS = 300
NOTICE_SECONDS = 60
"""Within which processes must notice that their driver or scheduler is gone."""
ACTS = {
    "kill a worker": 8,
    "terminate a worker": 1,
    "stop a worker": 2,
    "kill the driver": 4,
    "kill all": 4,
    "terminate": 2,
    "interrupt": 2,
    "interrupt the group": 1,
    "interrupt twice": 1,
}
CLUSTER_ACTS = {
    "kill a worker": 4,
    "kill the scheduler": 3,
    "kill the driver": 2,
    "kill all": 1,
}


def free_port():
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return connection.getsockname()[1]


def dask(*words):
    """Start a scheduler or a worker of Dask."""
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + words[0], *map(str, words[1:])],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Cluster:
    """A scheduler and two workers."""

    def __init__(self):
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = self.start_scheduler()
        self.workers = [self.start_worker() for _ in range(2)]

    def start_scheduler(self):
        words = ("--host", "127.0.0.1", "--port", self.port, "--no-dashboard")
        return dask("dask_scheduler", *words)

    def start_worker(self):
        words = ("--host", "127.0.0.1", "--nthreads", 1, "--no-dashboard", "--no-nanny")
        return dask("dask_worker", self.url, *words)

    def replace_worker(self, k):
        end(self.workers[k])
        self.workers[k] = self.start_worker()

    def close(self):
        for process in [*self.workers, self.scheduler]:
            end(process)


class Run:
    """One store that is run, killed and run again until it is finished."""

    def __init__(self, options, folder, report):
        self.options, self.folder, self.report = options, folder, report
        self.r = Random(f"{options.seed}-{options.mode}")
        self.study = write_study(folder, options.units, 7, options.block_seconds)
        self.store, self.truth = folder / "run.zarr", folder / "truth.zarr"
        done = call("run", self.study, "--store", self.truth, "--quiet")
        assert done.returncode == 0, done.stderr
        self.expected, self.kills, self.marks, self.lives = chunks(self.truth), 0, {}, 0

    @property
    def log(self):
        return self.folder / f"{self.lives}.log"

    @property
    def is_enough(self):
        return self.kills >= self.options.count

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def fail(self, outcome, kind):
        self.report.fail(outcome, str(kind), self.lives, " ".join(self.said()[-300:].split()))

    def start(self, *words):
        self.lives += 1
        return start("iitdask", *words, log=self.log)

    def start_driver(self, *words):
        return self.start("run", self.study, "--store", self.store, "--quiet", *words)

    def count(self, act):
        self.kills += 1
        self.report.count(act)

    def wait_for_blocks(self, process, more):
        """Wait until so many more blocks are finished, the process ends, or patience does."""
        goal, deadline = len(marks(self.store)) + more, time.monotonic() + PATIENCE_SECONDS / 3
        while process.poll() is None and time.monotonic() < deadline:
            if len(marks(self.store)) >= goal:
                return
            time.sleep(0.05)

    def exit_code(self, process):
        try:
            return process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.fail("hang", self.options.mode)
            end(process)
            return None

    def require_gone(self, processes, act):
        """Fail if one of the processes outlives its driver."""
        _, living = psutil.wait_procs(processes, timeout=NOTICE_SECONDS)
        for process in living:
            with suppress(psutil.Error):
                self.fail("outlives its driver", f"{act}: {process.name()}")
                process.kill()

    def check_life(self, is_alone):
        """Compare the finished blocks with those of the life before; look for tracebacks."""
        if "Traceback" in self.said():
            self.fail("traceback", self.options.mode)
        now = marks(self.store)
        for path, mark in self.marks.items():
            if path not in now:
                self.fail("block gone", path.name)
            elif now[path] != mark and is_alone:
                self.fail("block computed again", path.name)
        self.marks = now

    def compare_result(self):
        """Compare a finished store with the one that nothing disturbed, and verify it."""
        if chunks(self.store) != self.expected:
            self.fail("other result", self.options.mode)
        done = call("verify", self.store)
        if done.returncode:
            self.fail("does not verify", done.stderr[-200:])
        if list(self.store.rglob("*.partial")) and self.options.mode == "work":
            # Of one killed after all others had ended, which only the next run can see.
            self.report.count("partial files of the last process killed")
            call("work", self.store, "--spec", self.study)
        if list(self.store.rglob("*.partial")):
            self.fail("partial files left", self.options.mode)
        self.report.count("finished and compared")
        shutil.rmtree(self.store)
        self.marks = {}

    def local(self):
        """One life of a driver with two worker processes."""
        driver = self.start_driver("--workers", "2")
        if self.r.random() < 0.15:
            time.sleep(self.r.uniform(0, 8))  # while it starts
        else:
            self.wait_for_blocks(driver, self.r.choice([1, 2, 5, 20, 60]))
        while driver.poll() is None and not self.is_enough:
            act = self.r.choices(list(ACTS), list(ACTS.values()))[0]
            if act.endswith("a worker"):
                self.harm_worker(driver, act)
            else:
                self.end_driver(driver, act)
        code = self.exit_code(driver)
        self.check_life(is_alone=True)
        if code == 0:
            self.compare_result()
        elif code not in (None, -9, 130):
            self.fail("wrong exit code", code)

    def harm_worker(self, driver, act):
        workers = workers_of(driver)
        if not workers:
            self.wait_for_blocks(driver, 1)
            return
        worker = self.r.choice(workers)
        self.count(act)
        with suppress(psutil.Error):
            if act == "kill a worker":
                worker.kill()
            elif act == "terminate a worker":
                worker.terminate()
            else:
                worker.suspend()
                time.sleep(self.r.uniform(2, 8))
                worker.resume()
        self.wait_for_blocks(driver, self.r.choice([1, 3, 10]))

    def end_driver(self, driver, act):
        """End the driver, and everything of it, in one of the ways."""
        family = psutil.Process(driver.pid).children(recursive=True)
        self.count(act)
        if act == "kill the driver":
            driver.kill()
        elif act == "kill all":
            os.killpg(driver.pid, signal.SIGKILL)
            for process in family:
                with suppress(psutil.Error):
                    process.kill()
        elif act == "interrupt the group":
            os.killpg(driver.pid, signal.SIGINT)
        else:
            driver.send_signal(signal.SIGTERM if act == "terminate" else signal.SIGINT)
            if act == "interrupt twice":
                time.sleep(self.r.uniform(0, 0.3))
                driver.send_signal(signal.SIGINT)
        code = self.exit_code(driver)
        if "kill" not in act:
            if code not in (0, 130):
                self.fail("wrong exit code", f"{act}: {code}")
            if code == 130 and "go on with" not in self.said():
                self.fail("says not how to go on", act)
        self.require_gone(family, act)

    def scheduler(self):
        """One life of a cluster of processes, any of which is killed."""
        cluster = Cluster()
        driver = self.start_driver("--cluster", cluster.url)
        try:
            while driver.poll() is None:
                self.wait_for_blocks(driver, self.r.choice([2, 10, 40]))
                if driver.poll() is not None or self.is_enough:
                    break
                act = self.r.choices(list(CLUSTER_ACTS), list(CLUSTER_ACTS.values()))[0]
                self.count(f"{act} of a cluster")
                if act == "kill a worker":
                    cluster.replace_worker(self.r.randrange(2))
                    continue
                if act in ("kill the driver", "kill all"):
                    end(driver)
                if act == "kill all":
                    cluster.close()
                if act == "kill the scheduler":
                    self.lose_scheduler(cluster, driver)
                break
            code = self.exit_code(driver)
        finally:
            cluster.close()
            end(driver)
        self.check_life(is_alone=True)
        if code == 0:
            self.compare_result()
        elif code not in (None, -9, 1):
            self.fail("wrong exit code", code)

    def lose_scheduler(self, cluster, driver):
        """Kill the scheduler, and perhaps start it again; the driver must notice."""
        end(cluster.scheduler)
        if self.r.random() < 0.5:
            time.sleep(self.r.uniform(0, 3))
            cluster.scheduler = cluster.start_scheduler()
        began = time.monotonic()
        code = self.exit_code(driver)
        self.report.count(f"exit {code} of a driver without a scheduler")
        if time.monotonic() - began > NOTICE_SECONDS:
            self.fail("slow to notice a dead scheduler", self.options.mode)

    def work(self):
        """The lives of three processes that share a store."""
        if not self.store.exists():
            study, folder = read_study(self.study)
            job = job_from_study(study, folder, str(self.study))
            prepare_store(self.store, job, self.options.block_seconds)
        words = ("work", self.store, "--spec", self.study, "--quiet")
        team = [self.start(*words) for _ in range(3)]
        while all(process.poll() != 0 for process in team):
            self.wait_for_blocks(team[0], self.r.choice([1, 3, 10]))
            team = [p if p.poll() in (None, 0) else self.start(*words) for p in team]
            living = [process for process in team if process.poll() is None]
            if living and not self.is_enough:
                process = self.r.choice(living)
                number = self.r.choice([signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT])
                process.send_signal(number)
                self.count(f"signal {number.name} to `iitdask work`")
                code = self.exit_code(process)
                if code not in (0, 130, -9):
                    self.fail("wrong exit code", f"{number.name}: {code}")
        for process in team:
            self.exit_code(process)
        self.check_life(is_alone=False)
        self.compare_result()


def attack(options, folder):
    """Kill runs until there were enough kills and the last run is finished."""
    report = Report()
    run = Run(options, folder, report)
    while not run.is_enough or run.store.exists():
        getattr(run, options.mode)()
    return report


def add_options(parser):
    """Add what only this attack can be asked."""
    parser.add_argument("--mode", choices=["local", "scheduler", "work"], default="local")
    parser.add_argument("--units", type=int, default=9)
    parser.add_argument("--block-seconds", type=float, default=0.01)


if __name__ == "__main__":
    run_attack(attack, __doc__, 20, add_options)
