"""What SLURM would be told, without a SLURM."""

import shutil
import stat
import subprocess
import sys

import dask
import pytest
from distributed.security import Security

from iitdask.cli.run_command import ClusterChoice
from iitdask.cluster import jobs as scripts
from iitdask.cluster.jobs import (
    JobOptions,
    parse_memory,
    resolve_job_spec,
    tls_exports,
    write_certificates,
)
from iitdask.cluster.slurm import QueueWatch, is_driver, worker_script
from iitdask.errors import InputError

SITE = {
    "queue": "batch",
    "account": "brains",
    "cores": 8,
    "memory": "32GB",
    "walltime": "08:00:00",
    "interface": "ib0",
    "local_directory": "/scratch/me",
    "job-extra-directives": ["--constraint=icelake"],
    "job-directives-skip": ["--mem"],
    "job-script-prologue": ["module load python"],
    "python": "/opt/python",
}


def place(cluster, **more):
    given = {"workers": 3, "memory": None, "job_options": JobOptions(), "adapt": False, **more}
    return ClusterChoice(cluster=cluster, **given)


def script(cluster, **more):
    return place(cluster, **more).script("study.yaml", "run.zarr")


@pytest.mark.parametrize("cluster", ["slurm", "slurm-allocation", "slurm-array"])
def test_script__of_every_shape_pins_threads_and_may_be_requeued(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = script(cluster, memory="8GB", job_options=JobOptions(cores=4, partition="batch"))
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        assert f"export {name}_NUM_THREADS=1" in text
    assert "IITDASK_NUMBA_CACHE" in text
    assert "#SBATCH --requeue\n" in text
    assert "--cpus-per-task=4" in text
    assert "batch" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_script__of_a_worker_leaves_before_its_walltime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = worker_script(resolve_job_spec(JobOptions(walltime="01:00:00", port=8786)))
    assert "--lifetime 3240s --lifetime-stagger 180s" in text
    assert "SCHEDULER:8786" in text
    assert "--nworkers" not in text


def test_script__of_an_allocation_gives_memory_to_each_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wishes = JobOptions(cores=2, interface="ib0", port=8786)
    text = script("slurm-allocation", memory="1GiB", job_options=wishes)
    assert "#SBATCH --ntasks=5" in text
    assert "#SBATCH --mem-per-cpu=512M" in text
    assert "--mem=" not in text
    run = "iitdask run study.yaml --store run.zarr --cluster allocation --interface ib0 --port 8786"
    assert run in text


def test_script__of_an_allocation_that_was_requeued_works_beside_what_is_left_of_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = script("slurm-allocation", job_options=JobOptions())
    (start,) = [line for line in text.splitlines() if line.startswith("exec srun")]
    command = f"printf '%s\\n' {start.split('=0 ')[1]}"
    for restarts, joined in ((None, False), ("1", True)):
        environment = {} if restarts is None else {"SLURM_RESTART_COUNT": restarts}
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
        )
        assert ("--join" in done.stdout.split()) is joined


def test_script__of_an_allocation_with_tls_makes_certificates_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = script("slurm-allocation", job_options=JobOptions(tls=True))
    lines = text.splitlines()
    (made,) = [i for i, line in enumerate(lines) if "-m iitdask.cluster.jobs" in line]
    (start,) = [i for i, line in enumerate(lines) if line.startswith("srun ")]
    assert made < start
    assert "export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true" in lines[made:start]


def test_certificates__are_for_this_user_alone_and_dask_takes_them(tmp_path):
    folder = tmp_path / "keys"
    write_certificates(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600, 0o600]
    given = dict(line.removeprefix("export ").split("=", 1) for line in tls_exports(str(folder)))
    said = dask.config.collect_env({name: value.strip('"') for name, value in given.items()})
    with dask.config.set(dask.config.merge(dask.config.config, said)):
        security = Security()
        assert security.require_encryption is True
        for role in ("scheduler", "worker", "client"):
            assert security.get_connection_args(role)["ssl_context"] is not None


def test_script__of_an_array_names_the_study_of_a_sweep():
    there = place("slurm-array")
    assert "--spec study.yaml" in there.script("study.yaml", "run.zarr", is_sweep=True)
    assert "--spec" not in there.script("study.yaml", "run.zarr")


def test_script__of_an_array_goes_on_in_the_next_time_slice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = script("slurm-array", memory="1GiB", job_options=JobOptions(walltime="10"))
    assert "#SBATCH --array=0-2" in text
    assert "#SBATCH --signal=B:USR1@30" in text
    assert "iitdask work run.zarr --quiet --threads 1" in text
    assert 'scontrol requeue "$SLURM_JOB_ID"' in text


@pytest.mark.parametrize(
    ("code", "late", "requeued"),
    [
        (0, False, False),
        (75, False, True),
        (130, False, False),
        (130, True, True),
        (0, True, False),
    ],
)
def test_script__of_an_array_requeues_what_is_not_finished(code, late, requeued, tmp_path):
    """Run with stand-ins for iitdask and scontrol."""
    work = tmp_path / "python"
    # As iitdask does: ends by itself, or with its code when it is told to.
    work.write_text(
        f"#!/bin/sh\ntrap 'exit {code}' TERM\ntouch {tmp_path}/begun\n"
        + ("while :; do sleep 0.05; done\n" if late else f"exit {code}\n")
    )
    control = tmp_path / "scontrol"
    control.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    for each in (work, control):
        each.chmod(0o755)
    with dask.config.set({"jobqueue.here": {"python": str(work), "log-directory": str(tmp_path)}}):
        text = script("slurm-array", job_options=JobOptions(site="here"))
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_ID": "42",
        "IITDASK_NUMBA_CACHE": str(tmp_path),
    }
    process = subprocess.Popen(["bash", "-c", text], env=environment)
    if late:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
        process.send_signal(10)
    assert process.wait(timeout=600) == code
    assert (tmp_path / "said").exists() is requeued
    if requeued:
        assert (tmp_path / "said").read_text() == "requeue 42\n"


def test_site__is_a_preset_of_the_dask_configuration_and_flags_win():
    with dask.config.set({"jobqueue.mysite": SITE}):
        jobs = resolve_job_spec(JobOptions(site="mysite", walltime="30", directive=("--qos=low",)))
    assert (jobs.partition, jobs.account, jobs.cores) == ("batch", "brains", 8)
    assert (jobs.interface, jobs.scratch, jobs.python) == ("ib0", "/scratch/me", "/opt/python")
    assert jobs.seconds == 1800
    assert jobs.before[-1] == "module load python"
    header = jobs.header()
    assert not [line for line in header if line.startswith("--mem")]
    assert header[-2:] == ["--constraint=icelake", "--qos=low"]


def test_site__that_is_not_known_is_named():
    with pytest.raises(InputError, match=r"expected a preset jobqueue\.NAME .* got 'nowhere'"):
        resolve_job_spec(JobOptions(site="nowhere"))


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [("30", 1800), ("05:00", 300), ("01:00:00", 3600), ("1-12", 129600), ("1-00:30", 88200)],
)
def test_walltime__is_read_as_slurm_reads_it(walltime, seconds):
    assert resolve_job_spec(JobOptions(walltime=walltime)).seconds == seconds


@pytest.mark.parametrize(
    ("wishes", "memory", "message"),
    [
        ({"walltime": "soon"}, None, "--walltime: expected a time as SLURM writes it"),
        ({"walltime": "00:10"}, None, "--walltime: expected a minute or more"),
        ({"cores": -1}, None, "--cores: expected 1 or more"),
        ({}, "much", "--memory: expected an amount"),
    ],
)
def test_wishes__that_cannot_be_are_refused(wishes, memory, message):
    with pytest.raises(InputError, match=message):
        resolve_job_spec(JobOptions(**wishes), memory)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: place("slrum"), "--cluster: expected local, slurm"),
        (lambda: place("slurm", workers=0), "--workers: expected a whole number from 1"),
        (lambda: script("local"), "--print-job: expected --cluster slurm"),
        (
            lambda: place("slurm-array", job_options=JobOptions(tls=True)),
            "--tls: expected --cluster slurm",
        ),
        (
            lambda: place("kubernetes", job_options=JobOptions(tls=True)),
            "got 'kubernetes', whose conn",
        ),
        (lambda: place("local", job_options=JobOptions(tls=True)), "got 'local', whose conn"),
    ],
)
def test_place__that_cannot_be_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("key", "value"), [("job_cpu", 4), ("env-extra", ["a"]), ("processes", 2), ("name", "mine")]
)
def test_site__with_keys_that_jobs_do_not_use_is_refused(key, value):
    with (
        dask.config.set({"jobqueue.mysite": {**SITE, key: value}}),
        pytest.raises(InputError, match=f"jobqueue.mysite sets {key.replace('_', '-')}, which"),
    ):
        resolve_job_spec(JobOptions(site="mysite"))


def test_site__may_leave_keys_as_jobqueue_has_them():
    pytest.importorskip("dask_jobqueue")
    assert resolve_job_spec(JobOptions(site="slurm")).cores == 1


@pytest.mark.parametrize("option", ["partition", "account", "interface", "scratch", "walltime"])
def test_wishes__that_are_empty_are_refused(option):
    with pytest.raises(InputError, match=f"--{option}: expected a value, got an empty text"):
        resolve_job_spec(JobOptions(**{option: ""}))


def test_wishes__of_no_core_are_not_taken_for_none():
    with pytest.raises(InputError, match="--cores: expected 1 or more, got 0"):
        resolve_job_spec(JobOptions(cores=0))


def test_slurm__without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match=r"pip install 'iitdask\[slurm\]'"):
        script("slurm")


def test_slurm__that_is_not_here_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="expected SLURM's commands on this machine"):
        scripts.require_slurm()


def test_sbatch__that_refuses_is_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sbatch", "squeue", "scancel"):
        command = tmp_path / name
        command.write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(InputError, match="sbatch refused the job: invalid partition"):
        scripts.submit(resolve_job_spec(JobOptions()), "#!/bin/sh\n")


def test_allocation__outside_of_one_is_said(monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(InputError, match="expected to be started by srun"):
        is_driver()
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for task, found in (("0", False), ("1", True), ("2", False)):
        monkeypatch.setenv("SLURM_PROCID", task)
        assert is_driver() is found


class Cluster:
    """Stands for dask-jobqueue's: jobs by name, some of which have a worker."""

    def __init__(self, jobs, alive, busy):
        self.workers = {name: type("Job", (), {"job_id": number}) for name, number in jobs.items()}
        self.worker_spec = dict.fromkeys(jobs)
        self.alive, self.busy = alive, busy
        self.dropped, self.asked = [], []

    def scheduler_info(self, n_workers):
        return {"workers": {f"tcp://{name}": {"name": name} for name in self.alive}}

    def processing(self):
        return {f"tcp://{name}": ("key",) * (name in self.busy) for name in self.alive}

    def sync(self, function, names):
        function(names)

    def scale_down(self, names):
        self.dropped += names
        self.alive = [name for name in self.alive if name not in names]
        for name in names:
            del self.worker_spec[name]

    def scale(self, jobs):
        self.asked.append(jobs)


def test_watch__replaces_jobs_that_left_the_queue(monkeypatch):
    cluster = Cluster({"a": "1", "b": "2", "c": "3"}, alive="a", busy="a")
    monkeypatch.setattr("iitdask.cluster.slurm._queued_jobs", lambda: {"1", "3"})
    QueueWatch(cluster, cluster, 3, None).tend()
    # a works, c waits in the queue or was preempted: both are left alone.
    assert cluster.dropped == ["b"]
    assert cluster.asked == [3]


def test_watch__does_nothing_while_slurm_does_not_answer(monkeypatch):
    cluster = Cluster({"a": "1", "b": "2"}, alive="", busy="")
    monkeypatch.setattr("iitdask.cluster.slurm._queued_jobs", lambda: None)
    QueueWatch(cluster, cluster, 2, None).tend()
    assert (cluster.dropped, cluster.asked) == ([], [])


def test_watch__lets_waiting_and_idle_jobs_go_when_little_is_left(monkeypatch):
    cluster = Cluster({"a": "1", "b": "2", "c": "3", "d": "4"}, alive="abc", busy="b")
    monkeypatch.setattr("iitdask.cluster.slurm._queued_jobs", lambda: {"1", "2", "3", "4"})
    QueueWatch(cluster, cluster, 4, lambda: 2).tend()
    assert cluster.dropped == ["d", "a"]
    QueueWatch(cluster, cluster, 4, lambda: 0).tend()
    # The busy one stays, whatever is predicted.
    assert cluster.dropped == ["d", "a", "c"]
    QueueWatch(cluster, cluster, 4, lambda: 9).tend()
    assert cluster.asked == [4]


def test_queue__is_none_where_squeue_fails(tmp_path, monkeypatch):
    from iitdask.cluster.slurm import _queued_jobs

    monkeypatch.setenv("PATH", str(tmp_path))
    assert _queued_jobs() is None
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nprintf '12\\n13\\n'\n")
    squeue.chmod(0o755)
    assert _queued_jobs() == {"12", "13"}
    squeue.write_text("#!/bin/sh\nexit 1\n")
    assert _queued_jobs() is None


def test_print_job__submits_nothing(tmp_path, monkeypatch, capsys):
    from iitdask.cli.run_command import run

    monkeypatch.chdir(tmp_path)
    assert run("basic", cluster="slurm-array", print_job=True) == 0
    assert capsys.readouterr().out.startswith("#!/usr/bin/env bash\n#SBATCH --array=0-3\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["", "0", "-4GB", "nanGB", "1e400GB", "4XB", -2, "x" * 10**5])
def test_memory__refuses_what_is_no_amount(given):
    with pytest.raises(InputError, match="memory: expected an amount such as 4GB") as caught:
        parse_memory(given, "memory")
    assert len(str(caught.value)) < 400
