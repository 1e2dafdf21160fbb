"""What a job asks for: options, presets of sites, memory, certificates."""

import stat
from pathlib import Path

import dask
import dask_jobqueue
import pytest
import yaml
from distributed.security import Security

from iitdask.cluster.job_scripts import array_script, worker_script
from iitdask.cluster.jobs import (
    JobOptions,
    parse_memory,
    resolve_job_spec,
    tls_exports,
    write_certificates,
)
from iitdask.cluster.queues import PBS, QUEUES
from iitdask.cluster.slurm import allocation_script
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


def test_site__is_a_preset_of_the_dask_configuration_and_flags_win():
    with dask.config.set({"jobqueue.mysite": SITE}):
        jobs = resolve_job_spec(JobOptions(site="mysite", walltime="30", directive=("--qos=low",)))
    assert (jobs.partition, jobs.account, jobs.cores) == ("batch", "brains", 8)
    assert (jobs.interface, jobs.scratch, jobs.python) == ("ib0", "/scratch/me", "/opt/python")
    assert jobs.seconds == 1800
    assert jobs.before[-1] == "module load python"
    assert jobs.skip == ("--mem",)
    assert jobs.directive == ("--constraint=icelake", "--qos=low")


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
    ("key", "value"),
    [("worker_command", "dask_cuda.cli"), ("disk", "1GB"), ("processes", 2), ("mine", "x")],
)
def test_site__with_keys_that_jobs_do_not_use_is_refused(key, value):
    with (
        dask.config.set({"jobqueue.mysite": {**SITE, key: value}}),
        pytest.raises(InputError, match=f"jobqueue.mysite sets {key.replace('_', '-')}, which"),
    ):
        resolve_job_spec(JobOptions(site="mysite"))


def test_site__may_leave_keys_as_jobqueue_has_them():
    pytest.importorskip("dask_jobqueue")
    jobs = resolve_job_spec(JobOptions(site="slurm"))
    assert (jobs.cores, jobs.name) == (1, "iitdask")


KEYS = {
    "name": "brainjob", "cores": 7, "memory": "11GB", "walltime": "07:07:07", "queue": "batch",
    "account": "brains", "project": "mine", "python": "apptainer exec --bind /scratch i.sif py3",
    "interface": "ib7", "death-timeout": 77, "local-directory": "/scratch/$USER",
    "log-directory": "/logs/here", "shared-temp-directory": "/shared/here", "shebang": "#!/bin/ba",
    "scheduler-options": {"port": 7077}, "worker-extra-args": ["--nice7"], "extra": ["--nice8"],
    "job-extra-directives": ["--constraint=x7"], "job-extra": ["--constraint=x8"],
    "job-directives-skip": ["--cpus-per"], "header-skip": ["-n 1", "--ntasks"],
    "job-script-prologue": ["module load p7"], "env-extra": ["export SEVEN=7"],
    "job-script-epilogue": ["echo seven"], "job-cpu": 9, "job-mem": "13G", "processes": 2,
    "worker-command": "dask_cuda.cli", "unheard-of": 1,
}  # fmt: skip
"""Every key of dask-jobqueue's section for SLURM, old ones included, and one it does not have."""
MARKS = {
    "memory": ("11G", "10.24GiB", "11000000000"),
    "account": ("-A brains",), "project": ("-A mine",),
    "scheduler-options": ("7077", "scheduler-options"), "job-cpu": ("--cpus-per-task=9",),
    "job-mem": ("--mem=13G", "--mem-per-cpu=13312M"), "death-timeout": ("77", "death-timeout"),
    "interface": ("ib7", "interface"), "cores": ("--cpus-per-task=7",),
    "shared-temp-directory": ("/shared/here", "shared-temp-directory"),
}  # fmt: skip
"""What of a key's value stands in a script."""
WRITERS = {
    "slurm": worker_script,
    "slurm-allocation": lambda jobs: allocation_script(jobs, 3, ["run", "s.yaml"]),
    "slurm-array": lambda jobs: array_script(jobs, 3, "run.zarr"),
}


OTHER_VALUES = {
    "resource-spec": "select=1:ncpus=7", "ncpus": 7, "mem": 7 * 10**9, "lsf-units": "gb",
    "disk": "77GB", "memory-per-core-property-name": "memcore",
}  # fmt: skip
"""Values of keys that other queues have."""
COMMAND_KEYS = ("use-stdin", "submit-command-extra", "cancel-command-extra")
"""Keys about commands, which are in no script."""


SHAPES = [
    (name, shape)
    for name, queue in QUEUES.items()
    for shape in ("worker", "array")
    if shape == "worker" or queue.array is not None
]


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_site__has_each_key_of_every_queue_honoured_or_refused_by_name(name, shape):
    def script(preset):
        if name == "sge":
            preset = {**preset, "job-extra-directives": ["-pe smp 7", "-x"]}
        with dask.config.set({"jobqueue": {"mysite": preset}}):
            jobs = resolve_job_spec(JobOptions(site="mysite"), queue=QUEUES[name])
            return worker_script(jobs) if shape == "worker" else array_script(jobs, 3, "s")

    values = {**KEYS, **OTHER_VALUES}
    if name == "htcondor":
        values |= {"job-extra-directives": {"a": "b"}, "job-extra": {"a": "b"}}
        values |= {"job-directives-skip": ["Log"], "header-skip": ["Log"]}
    if name == "sge":
        values |= {"job-directives-skip": ["-cwd"], "header-skip": ["-cwd"]}
    if name == "oar":
        values |= {"job-directives-skip": ["-n"], "header-skip": ["-n"]}
    if name == "pbs":
        values |= {"job-directives-skip": ["select"], "header-skip": ["select"]}
    if name == "lsf":
        values |= {"job-directives-skip": ["-M"], "header-skip": ["-M"]}
    content = yaml.safe_load((Path(dask_jobqueue.__file__).parent / "jobqueue.yaml").read_text())
    unseen = []
    for key in content["jobqueue"][name]:
        if key in COMMAND_KEYS or (name, key) == ("sge", "job-extra-directives"):
            continue
        try:
            if script({key: values[key]}) == script({}):
                unseen.append(key)
        except InputError as error:
            assert key in str(error).replace("worker-extra-args", f"worker-extra-args {key}")
    # TLS certificates are not asked for, and this process is the scheduler.
    expected = {"worker": {"shared-temp-directory", "scheduler-options"}, "array": set()}[shape]
    if name == "sge":
        expected |= {"job-extra"}
    assert set(unseen) == expected


def test_site__that_asks_for_everything_at_once_takes_no_flags_beside_it():
    with (
        dask.config.set({"jobqueue": {"mysite": {"resource-spec": "select=1:ncpus=7"}}}),
        pytest.raises(InputError, match="--cores: expected none beside the resource-spec"),
    ):
        resolve_job_spec(JobOptions(site="mysite", cores=2), queue=PBS)


def test_keys__are_all_of_jobqueue():
    pytest.importorskip("dask_jobqueue")
    assert set(dask.config.get("jobqueue.slurm")) <= set(KEYS)


@pytest.mark.parametrize("shape", WRITERS)
@pytest.mark.parametrize("key", KEYS)
def test_site__has_each_key_honoured_or_refused_by_name_in_every_shape(key, shape):
    def script(preset):
        with dask.config.set({"jobqueue": {"mysite": preset}}):
            return WRITERS[shape](resolve_job_spec(JobOptions(site="mysite", tls=key[0] == "s")))

    plain = script({})
    try:
        text = script({key: KEYS[key]})
    except InputError as error:
        assert f"sets {key}," in str(error).replace("worker-extra-args", key)
        assert (key, shape) in REFUSED
        return
    assert (key, shape) not in REFUSED
    assert text != plain or (key, shape) in UNSEEN
    if "skip" in key:
        assert any(plain.count(word) > text.count(word) for word in KEYS[key])
    elif (key, shape) not in UNSEEN:
        value = KEYS[key][0] if isinstance(KEYS[key], list) else str(KEYS[key])
        assert any(mark in text and mark not in plain for mark in MARKS.get(key, (value,))), text


REFUSED = {
    *((key, shape) for key in ("processes", "worker-command", "unheard-of") for shape in WRITERS),
    ("worker-extra-args", "slurm-array"),
    ("extra", "slurm-array"),
}
UNSEEN = {("shared-temp-directory", "slurm"), ("scheduler-options", "slurm")}
"""Keys that this process uses itself: for certificates, and for the scheduler that it runs."""


@pytest.mark.parametrize(("flag", "key"), [("cores", "job-cpu"), ("memory", "job-mem")])
def test_site__gives_way_to_flags_also_in_other_keys(flag, key):
    given = {"cores": JobOptions(site="mysite", cores=3), "memory": JobOptions(site="mysite")}
    preset = {"job-cpu": 9, "job-mem": "13G"}
    with dask.config.set({"jobqueue": {"mysite": preset}}):
        jobs = resolve_job_spec(given[flag], "5GB" if flag == "memory" else None)
    assert key not in dict(jobs.own)
    assert len(jobs.own) == 1


def test_site__keys_count_by_their_new_name_first():
    preset = {"env-extra": ["old"], "job_script_prologue": ["new"]}
    with dask.config.set({"jobqueue": {"mysite": preset}}):
        assert resolve_job_spec(JobOptions(site="mysite")).before[-1] == "new"


def test_site__with_a_text_for_a_list_is_refused():
    with (
        dask.config.set({"jobqueue": {"mysite": {"job-script-prologue": "module load x"}}}),
        pytest.raises(InputError, match="job-script-prologue: expected a list, got 'module load"),
    ):
        resolve_job_spec(JobOptions(site="mysite"))


def test_site__python_may_be_a_list_of_words():
    words = ["apptainer", "exec", "my image.sif", "python3"]
    with dask.config.set({"jobqueue": {"mysite": {"python": words}}}):
        jobs = resolve_job_spec(JobOptions(site="mysite"))
    assert jobs.python == "apptainer exec 'my image.sif' python3"


def test_jobs__take_nothing_from_a_section_that_was_not_asked_for():
    section = {"queue": "elsewhere", "job-script-prologue": ["stray"], "job-mem": "99G"}
    with dask.config.set({"jobqueue.slurm": section}):
        text = worker_script(resolve_job_spec(JobOptions()))
    assert not [word for word in ("elsewhere", "stray", "99G") if word in text]


@pytest.mark.parametrize("option", ["partition", "account", "interface", "scratch", "walltime"])
def test_wishes__that_are_empty_are_refused(option):
    with pytest.raises(InputError, match=f"--{option}: expected a value, got an empty text"):
        resolve_job_spec(JobOptions(**{option: ""}))


def test_wishes__of_no_core_are_not_taken_for_none():
    with pytest.raises(InputError, match="--cores: expected 1 or more, got 0"):
        resolve_job_spec(JobOptions(cores=0))


@pytest.mark.parametrize("given", ["", "0", "-4GB", "nanGB", "1e400GB", "4XB", -2, "x" * 10**5])
def test_memory__refuses_what_is_no_amount(given):
    with pytest.raises(InputError, match="memory: expected an amount such as 4GB") as caught:
        parse_memory(given, "memory")
    assert len(str(caught.value)) < 400
