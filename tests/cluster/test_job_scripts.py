"""What SLURM would be told, without a SLURM."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import dask
import pytest

from iitdask.cli.run_command import ClusterChoice
from iitdask.cluster import job_scripts
from iitdask.cluster.job_scripts import worker_script
from iitdask.cluster.jobs import JobOptions, resolve_job_spec
from iitdask.cluster.queues import QUEUES, SLURM
from iitdask.cluster.slurm import require_allocation
from iitdask.errors import ClusterError, InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "job_scripts"
CLUSTERS = (*QUEUES, "slurm-allocation", "slurm-array", "pbs-array", "lsf-array")


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
    # No more than the workers: scheduler and driver are beside the first of them.
    assert "#SBATCH --ntasks=3" in text
    assert "#SBATCH --mem-per-cpu=640M" in text
    assert "--mem=" not in text
    assert """-m iitdask.cluster.slurm '{"interface": "ib0", "port": 8786}' &""" in text
    assert "--interface ib0' &" in text
    assert "iitdask run study.yaml --store run.zarr --cluster allocation $" in text


def test_script__of_an_allocation_of_one_task_asks_for_memory_of_a_node():
    assert "#SBATCH --mem=2816M" in script("slurm-allocation", workers=1, memory="2GiB")


def test_script__of_an_allocation_takes_all_memory_of_a_node_where_the_site_says_so():
    with dask.config.set({"jobqueue.here": {"job-mem": "0"}}):
        assert "#SBATCH --mem=0" in script("slurm-allocation", job_options=JobOptions(site="here"))


@pytest.mark.parametrize(("end", "code"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", 137)])
def test_script__of_an_allocation_ends_with_its_driver(end, code, tmp_path, monkeypatch):
    """Run with stand-ins for iitdask and srun: scheduler and workers would stay for ever."""
    monkeypatch.chdir(tmp_path)
    python, srun = tmp_path / "python", tmp_path / "srun"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *--cluster*) '
        + end
        + ";; *) echo $$ > scheduler; exec sleep 600;;"
        " esac\n"
    )
    srun.write_text("#!/bin/sh\nexec sleep 600\n")
    for each in (python, srun):
        each.chmod(0o755)
    preset = {"python": str(python), "job-script-epilogue": ["echo $code > after"]}
    with dask.config.set({"jobqueue.here": preset}):
        text = script("slurm-allocation", job_options=JobOptions(site="here"))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "42"}
    done = subprocess.run(["bash", "-c", text], env=environment, check=False, timeout=600)
    assert done.returncode == code
    assert (tmp_path / "after").read_text() == f"{code}\n"


def test_script__of_an_allocation_that_was_requeued_works_beside_what_is_left_of_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = script("slurm-allocation", job_options=JobOptions())
    (start,) = [line for line in text.splitlines() if "--cluster allocation" in line]
    command = f"printf '%s\\n' {start.removesuffix(' &')}"
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
    (start,) = [i for i, line in enumerate(lines) if "-m iitdask.cluster.slurm" in line]
    assert made < start
    assert "export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true" in lines[made:start]


def test_script__of_an_array_names_the_study_of_a_sweep():
    there = place("slurm-array")
    assert "--spec study.yaml" in there.script("study.yaml", "run.zarr", is_sweep=True)
    assert "--spec" not in there.script("study.yaml", "run.zarr")


def test_script__of_an_array_names_the_kernels_that_were_compiled_for_it():
    there, words = place("slurm-array"), ["--kernels", "/home/me/a b", "--kernels-sha256", "f00d"]
    text = there.script("study.yaml", "run.zarr", kernels=words)
    assert "--kernels '/home/me/a b' --kernels-sha256 f00d --lifetime" in text


def test_script__of_an_array_goes_on_in_the_next_time_slice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = script("slurm-array", memory="1GiB", job_options=JobOptions(walltime="10"))
    assert "#SBATCH --array=0-2" in text
    assert "#SBATCH --signal=B:USR1@30" in text
    assert "iitdask work run.zarr --quiet --threads 1 --memory 1GiB" in text
    assert 'scontrol requeue "$SLURM_JOB_ID"' in text


def test_script__of_an_array_runs_no_more_elements_at_a_time_than_asked():
    assert "#SBATCH --array=0-2%2\n" in script("slurm-array", job_options=JobOptions(throttle=2))


def test_script__of_an_array_makes_temporary_files_in_the_scratch_directory():
    text = script("slurm-array", job_options=JobOptions(scratch="/scratch/$USER"))
    assert "export TMPDIR=/scratch/$USER\n" in text


def test_script__of_an_array_names_what_it_does_not_need_of_a_preset():
    with dask.config.set({"jobqueue.here": {"interface": "ib0", "death-timeout": 5}}):
        text = script("slurm-array", job_options=JobOptions(site="here"))
    assert "not needed are interface, death-timeout of jobqueue.here\n" in text


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: place("slrum"), "--cluster: expected local, slurm"),
        (lambda: place("slurm", workers=0), "--workers: expected a whole number from 1"),
        (
            lambda: place("slurm-array", job_options=JobOptions(throttle=0)),
            "--throttle: expected a whole number from 1",
        ),
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


def test_slurm__without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match=r"pip install 'iitdask\[slurm\]'"):
        script("slurm")


def test_slurm__that_is_not_here_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="expected SLURM's commands on this machine"):
        SLURM.require_commands()


def test_sbatch__that_refuses_is_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sbatch", "squeue", "scancel"):
        command = tmp_path / name
        command.write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ClusterError, match="sbatch refused the job: invalid partition"):
        job_scripts.submit(resolve_job_spec(JobOptions()), "#!/bin/sh\n")


def test_allocation__outside_of_one_is_said(monkeypatch):
    monkeypatch.delenv("IITDASK_SCHEDULER_FILE", raising=False)
    with pytest.raises(InputError, match="expected to be started by the job of"):
        require_allocation()


def test_print_job__submits_nothing(tmp_path, monkeypatch, capsys):
    from iitdask.cli.run_command import run

    monkeypatch.chdir(tmp_path)
    assert run("basic", cluster="slurm-array", print_job=True) == 0
    assert capsys.readouterr().out.startswith("#!/usr/bin/env bash\n#SBATCH --array=0-3\n")
    assert list(tmp_path.iterdir()) == []


def test_print_job__of_a_cluster_without_jobs_is_refused(tmp_path, monkeypatch):
    from iitdask.cli.run_command import run

    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--print-job: expected --cluster slurm"):
        run("basic", print_job=True)


def golden_choice(cluster):
    queue = QUEUES[cluster.partition("-")[0]]
    directive = {"htcondor": ("requirements = Machine != bad",), "sge": ("-pe smp 4",)}
    options = JobOptions(
        cores=4,
        walltime="1-02:30:00",
        account="brains",
        partition="batch" if queue.has_limits else None,
        interface=None if cluster.endswith("-array") else "ib0",
        scratch="/scratch/$USER",
        site="here",
        directive=directive.get(queue.name, ("-x 1",)),
        throttle=5 if cluster.endswith("-array") else None,
    )
    return place(cluster, workers=10, memory="16GB", job_options=options)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_script__of_every_queue_and_shape_is_the_golden_text(cluster):
    """The texts were compared by eye with the manuals of the queues."""
    preset = {"python": "/opt/python", "log-directory": "/home/me/logs"}
    with dask.config.set({"jobqueue.here": preset}):
        text = golden_choice(cluster).script("study.yaml", "run.zarr")
    assert text == (GOLDEN / f"{cluster}.txt").read_text()


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_script__is_one_that_bash_reads(cluster):
    if cluster != "htcondor":
        script = (GOLDEN / f"{cluster}.txt").read_text()
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize("name", QUEUES)
def test_header__is_that_of_dask_jobqueue(name, tmp_path, monkeypatch):
    """Against its public cluster class, made with plain arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))
    queue = QUEUES[name]
    with dask.config.set({"jobqueue": {"here": {"log-directory": str(tmp_path)}}}):
        jobs = resolve_job_spec(JobOptions(walltime="02:00:00", site="here"), "2GB", queue)
        text = worker_script(jobs)
    module = import_module(f"dask_jobqueue.{name}")
    limits = {"walltime": "02:00" if name == "lsf" else "02:00:00"} if queue.has_limits else {}
    own = {"disk": "2GB"} if name == "htcondor" else {}
    own |= {"memory_per_core_property_name": "not_applicable"} if name == "oar" else {}
    directives = [line.format(logs=tmp_path) for line in queue.directives]
    job = getattr(module, queue.job_class)(
        "tcp://SCHEDULER:PORT", name="iitdask-0", job_name="iitdask", cores=1, memory="2GB",
        processes=1, job_extra_directives=directives or {}, log_directory=str(tmp_path),
        **limits, **own,
    )  # fmt: skip
    header = getattr(job, "job_header", None) or "\n".join(
        f"{key} = {value}" for key, value in job.job_header_dict.items()
    )
    assert header in text


def test_script__of_one_element_is_no_array_for_pbs():
    assert "#PBS -J" not in script("pbs-array", workers=1)


@pytest.mark.parametrize(
    ("cluster", "title"),
    [("sge-array", "SGE has no array"), ("oar-array", "OAR"), ("htcondor-array", "HTCondor"),
     ("pbs-allocation", "PBS has no allocation"), ("lsf-allocation", "LSF")],
)  # fmt: skip
def test_place__of_a_shape_that_a_queue_does_not_have_is_refused_by_name(cluster, title):
    with pytest.raises(InputError, match=f"--cluster: expected slurm, pbs, .* {title}"):
        place(cluster)


def test_script__of_sge_books_cores_by_a_parallel_environment():
    with pytest.raises(
        InputError, match=r"--cores: SGE books .* expected --directive='-pe NAME 4'"
    ):
        script("sge", job_options=JobOptions(cores=4))
    text = script("sge", job_options=JobOptions(cores=4, directive=("-pe smp 4",)))
    assert "#$ -pe smp 4\n" in text


def test_script__of_htcondor_takes_keys_and_values():
    with pytest.raises(InputError, match="--directive: expected KEY = VALUE, got 'x'"):
        script("htcondor", job_options=JobOptions(directive=("x",)))
    with dask.config.set({"jobqueue.here": {"job-extra-directives": {"rank": "Memory"}}}):
        assert "\nrank = Memory\n" in script("htcondor", job_options=JobOptions(site="here"))


def test_script__that_dask_jobqueue_cannot_write_is_an_error_in_a_line():
    with (
        dask.config.set({"jobqueue.here": {"job-directives-skip": ["nothing"]}}),
        pytest.raises(InputError, match="cannot write the job: KeyError: 'nothing'"),
    ):
        script("htcondor", job_options=JobOptions(site="here"))
