"""Runs that are killed, interrupted and starved, as real processes."""

import json
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager

import processes as proc
import pytest

from iitdask.run.events import list_logs
from iitdask.run.storage import open_store

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

BLOCK_SECONDS = 0.0003
"""Of the study: some six hundred blocks."""
KILLS = {"workers": 5, "drivers": 2, "schedulers": 1}
MANY_KILLS = {"workers": 18, "drivers": 7, "schedulers": 6}
"""Kills of each kind; the larger campaign must reach 30 in all."""


class Campaign:
    """One store after the other, each harmed until its run is done."""

    def __init__(self, folder, study, seed):
        self.folder, self.study = folder, study
        self.chaos = proc.Chaos(seed)
        self.stores, self.watches = [], []
        self.log = folder / "campaign.log"
        self.renew()

    def renew(self):
        self.store = self.folder / f"harmed-{len(self.stores)}.zarr"
        self.stores.append(self.store)
        self.watches.append(proc.Watch(self.store).__enter__())

    def driver(self, *words):
        return proc.start(
            "iitdask", "run", self.study, "--store", self.store, "--quiet", *words, log=self.log
        )

    def settle(self, process):
        """Note how a run ended; a store that is done makes place for the next."""
        code = process.poll()
        proc.end(process)
        if code == 0:
            self.renew()
        return code

    def wait_for_blocks(self, driver, least, most):
        """Wait until a random number of blocks more is done, or the run has ended."""
        some = len(proc.ticks(self.store)) + self.chaos.chance.randrange(least, most)
        assert proc.wait_until(
            lambda: driver.poll() is not None or len(proc.ticks(self.store)) >= some
        )

    def kill_workers(self, count):
        target = self.chaos.kills + count
        while self.chaos.kills < target:
            driver = self.driver("--workers", "2")
            while driver.poll() is None and self.chaos.kills < target:
                self.wait_for_blocks(driver, 1, 12)
                alive = proc.workers_of(driver)
                if alive:
                    self.chaos.kill(self.chaos.chance.choice(alive))
            self.settle(driver)

    def kill_drivers(self, count):
        target = self.chaos.kills + count
        while self.chaos.kills < target:
            driver = self.driver("--workers", "2")
            self.wait_for_blocks(driver, 2, 40)
            if driver.poll() is None:
                self.chaos.kill(driver)
                driver.wait()
                proc.wait_until(lambda d=driver: not proc.workers_of(d))
            self.settle(driver)

    def kill_schedulers(self, count):
        target = self.chaos.kills + count
        codes = []
        while self.chaos.kills < target:
            with cluster(self.log) as (scheduler, address):
                driver = self.driver("--cluster", address)
                self.wait_for_blocks(driver, 2, 40)
                if driver.poll() is None:
                    self.chaos.kill(scheduler)
                    assert proc.wait_until(lambda d=driver: d.poll() is not None)
                    codes.append(driver.returncode)
                self.settle(driver)
        return codes

    def finish(self):
        done = proc.call("run", self.study, "--store", self.store, "--quiet", "--workers", "2")
        assert done.returncode == 0, done.stderr
        for watch in self.watches:
            watch.__exit__()


@contextmanager
def cluster(log):
    """A scheduler and two workers, each a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    where = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
    scheduler = proc.start("distributed.cli.dask_scheduler", *where, log=log)
    options = ("--nthreads", 1, "--death-timeout", proc.PATIENCE, "--no-dashboard", "--no-nanny")
    hands = [
        proc.start("distributed.cli.dask_worker", address, *options, log=log) for _ in range(2)
    ]
    assert proc.wait_until(lambda: proc.listens(port))
    try:
        yield scheduler, address
    finally:
        for process in (scheduler, *hands):
            proc.end(process)


@pytest.mark.parametrize(
    "kills", [KILLS, pytest.param(MANY_KILLS, marks=pytest.mark.exhaustive)], ids=["8", "31"]
)
def test_run__survives_kills_of_workers_drivers_and_schedulers(kills, study, undisturbed, tmp_path):
    campaign = Campaign(tmp_path, study, seed=11)
    campaign.kill_workers(kills["workers"])
    campaign.kill_drivers(kills["drivers"])
    codes = campaign.kill_schedulers(kills["schedulers"])
    campaign.finish()
    expected, result = proc.content(undisturbed), proc.shown(undisturbed)
    for store in campaign.stores:
        assert proc.content(store) == expected
        assert proc.shown(store) == result
    assert [path for watch in campaign.watches for path in watch.again] == []
    assert all(len(watch.seen) >= 500 for watch in campaign.watches)
    assert set(codes) <= {0, 1}
    assert campaign.chaos.kills >= sum(kills.values())
    assert len(campaign.stores) <= 20


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        pytest.param(signal.SIGINT, ("--workers", "2"), id="SIGINT-processes"),
        pytest.param(signal.SIGTERM, (), id="SIGTERM-threads"),
        pytest.param(signal.SIGINT, (), id="SIGINT-threads", marks=pytest.mark.exhaustive),
        pytest.param(
            signal.SIGTERM,
            ("--workers", "2"),
            id="SIGTERM-processes",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_run__interrupted_says_how_to_resume_and_ends_as_if_undisturbed(
    study, undisturbed, tmp_path, number, workers
):
    store, log = tmp_path / "run.zarr", tmp_path / "err.txt"
    driver = proc.start("iitdask", "run", study, "--store", store, *workers, log=log)
    assert proc.wait_until(lambda: len(proc.ticks(store)) > 10)
    driver.send_signal(number)
    assert driver.wait(proc.PATIENCE) == 130
    proc.end(driver)
    resume = log.read_text().strip().splitlines()[-1]
    command = f"python -m iitdask run {study} --store {store}"
    assert resume.startswith("iitdask: interrupted; the store is consistent, go on with:")
    assert command in resume
    status = proc.call("status", store)
    assert "no run is at work (the last one: interrupted)" in status.stdout
    done = proc.call("run", study, "--store", store, "--quiet", *workers)
    assert done.returncode == 0, done.stderr
    assert proc.shown(store) == proc.shown(undisturbed)
    assert proc.content(store) == proc.content(undisturbed)


def test_run__ends_at_once_on_a_second_signal(study, tmp_path):
    store, log = tmp_path / "run.zarr", tmp_path / "err.txt"
    driver = proc.start("iitdask", "run", study, "--store", store, "--workers", "2", log=log)
    assert proc.wait_until(lambda: len(proc.ticks(store)) > 5)
    driver.send_signal(signal.SIGSTOP)  # so that it cannot end between the two
    driver.send_signal(signal.SIGINT)
    driver.send_signal(signal.SIGTERM)  # two of a kind may arrive as one
    driver.send_signal(signal.SIGCONT)
    assert driver.wait(proc.PATIENCE) == 130
    proc.end(driver)
    assert log.read_text().count("interrupted; the store is consistent") == 1
    # It did not take the time to end its session.
    assert "the last one: interrupted" not in proc.call("status", store).stdout


def test_run__refuses_a_store_that_another_run_fills(study, undisturbed, tmp_path):
    store = tmp_path / "run.zarr"
    first = proc.start("iitdask", "run", study, "--store", store, "--workers", "1")
    try:
        assert proc.wait_until(lambda: len(proc.ticks(store)) > 5)
        first.send_signal(signal.SIGSTOP)  # or it may end before all is asked
        second = proc.call("run", study, "--store", store, "--quiet")
        assert second.returncode == 1
        assert f"is being filled by process {first.pid} on {socket.gethostname()} since" in (
            second.stderr
        )
        assert "driven by process" in proc.call("status", store).stdout
        assert proc.call("tidy", store).returncode == 1
        first.send_signal(signal.SIGCONT)
        beside = proc.call("run", study, "--store", store, "--quiet", "--join")
        assert beside.returncode == 0, beside.stderr
        assert first.wait(proc.PATIENCE) == 0
    finally:
        proc.end(first)
    assert proc.shown(store) == proc.shown(undisturbed)
    assert proc.content(store) == proc.content(undisturbed)


def test_run__takes_over_from_a_driver_that_was_killed(study, undisturbed, tmp_path):
    store = tmp_path / "run.zarr"
    first = proc.start("iitdask", "run", study, "--store", store)
    assert proc.wait_until(lambda: len(proc.ticks(store)) > 5)
    proc.end(first)
    assert proc.call("run", study, "--store", store, "--quiet").returncode == 0
    assert proc.shown(store) == proc.shown(undisturbed)
    opened = open_store(str(store))
    logs = list_logs(opened)
    kinds = [[json.loads(line)["event"] for line in opened.read(key).splitlines()] for key in logs]
    assert len(logs) == 2
    assert [each[0] for each in kinds] == ["RunStarted", "RunStarted"]
    assert kinds[1][-1] == "RunFinished"


@pytest.fixture
def little_disk(tmp_path):
    """A file system of one megabyte, and what makes it larger."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"mounting is not permitted here: {made.stderr.strip()}")

    def enlarge():
        subprocess.run([mount, "-o", "remount,size=64m", place], check=True)

    yield place, enlarge
    subprocess.run(["umount", "-l", place], check=True)


def test_run__stops_on_a_full_disk_and_goes_on_when_there_is_room(study, undisturbed, little_disk):
    place, enlarge = little_disk
    store = place / "run.zarr"
    full = proc.call("run", study, "--store", store, "--quiet")
    assert full.returncode == 1
    assert "no space left to write" in full.stderr
    assert "Traceback" not in full.stderr
    enlarge()
    done = proc.call("run", study, "--store", store, "--quiet")
    assert done.returncode == 0, done.stderr
    assert proc.shown(store) == proc.shown(undisturbed)
    assert proc.content(store) == proc.content(undisturbed)
