"""Options are used, or refused by name."""

import pytest

from iitdask.cli.app import main
from iitdask.cli.run_command import CLUSTERS_WITH_OPTION, ClusterChoice
from iitdask.cluster.jobs import JobOptions


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """The line that refuses a command; nothing was written."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=2):
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        (line,) = capsys.readouterr().err.splitlines()
        assert stop.value.code == code, line
        assert len(line) < 400
        assert list(tmp_path.iterdir()) == []
        return line

    return run


VALUES = {
    "workers": ["2"], "cores": ["2"], "walltime": ["60"], "partition": ["p"], "account": ["a"],
    "site": ["s"], "directive": ["x"], "interface": ["lo"], "port": ["1"], "scratch": ["/tmp"],
    "manifest": ["m"], "adapt": [], "cache": ["c"], "join": [], "dashboard": [], "throttle": ["1"],
}  # fmt: skip
CLUSTERS = (
    "local",
    "tcp://127.0.0.1:9",
    "slurm",
    "slurm-allocation",
    "slurm-array",
    "kubernetes",
    "pbs",
    "pbs-array",
    "lsf",
    "lsf-array",
    "sge",
    "htcondor",
    "oar",
)
UNUSED = [
    (cluster, name)
    for name in VALUES
    for cluster in CLUSTERS
    if cluster not in CLUSTERS_WITH_OPTION[name]
    and not ("://" in cluster and "tcp://HOST:PORT" in CLUSTERS_WITH_OPTION[name])
]


@pytest.mark.parametrize(("cluster", "name"), UNUSED)
def test_run__refuses_options_that_a_cluster_has_no_use_for(cluster, name, refused):
    line = refused("run", "basic", "--cluster", cluster, f"--{name}", *VALUES[name])
    assert line.startswith(f"iitdask: --{name}: expected --cluster ")
    assert line.endswith(f"got '{cluster}', which has no use for it")


WRONG = {
    "--workers: expected a whole number from 1 to 10000, got 0": ["run", "basic", "-n", "0"],
    "--workers: expected a whole number from 1 to 10000, got 1": ["run", "basic", "-n", "1" * 20],
    "--workers: expected at most ": ["run", "basic", "--workers", "10000"],
    "--threads: expected a whole number from 1 to 10000": ["work", "s", "--threads", "9" * 20],
    "--budget: expected core-seconds, 0 or more, got nan": ["run", "basic", "--budget", "nan"],
    "--budget: expected core-seconds, 0 or more, got -1.0": ["estimate", "basic", "--budget=-1"],
    "--seconds: expected a time, 0 or more, got nan": ["estimate", "basic", "--seconds", "nan"],
    "--workers: expected a whole number from 1 to 10000, got -1": ["estimate", "basic", "-n=-1"],
    "--blocks: expected 0 or more, got -1": ["plan", "basic", "--blocks=-1"],
    "--sample: expected 0 or more blocks, got -1": ["verify", "s", "--sample=-1"],
    "--dashboard-port: expected a port from 0 to 65535": ["run", "--dashboard-port", "70000"],
    "--dashboard-port: expected --dashboard beside it": ["run", "--dashboard-port", "7000"],
    "--port: expected a port from 0": ["run", "--cluster", "slurm", "--port", "70000"],
    "--port: expected --serve": ["status", "s", "--port", "7000"],
    "--address: expected no --html": ["view", "s", "--html", "x", "--address", "::1"],
    "--serve: expected no --json": ["status", "s", "--serve", "--json"],
    "--cache: expected neither": ["show", "s", "--cache", "c"],
    "store: expected a path": ["run", "basic", "--store", ""],
    "--cluster: expected the address": ["run", "basic", "--cluster", "tcp://x:y"],
}


@pytest.mark.parametrize("expected", WRONG)
def test_commands__refuse_options_that_cannot_be_meant(expected, refused):
    assert refused(*WRONG[expected]).startswith(f"iitdask: {expected}")


@pytest.mark.parametrize(
    "words",
    [
        ["show"], ["view"], ["status"], ["verify"], ["tidy"], ["export", "x.csv"], ["work"],
    ],
)  # fmt: skip
def test_commands__refuse_a_store_that_is_not_there(words, refused):
    command, *more = words
    line = refused(command, "nope.zarr", *more)
    assert line.startswith("iitdask: nope.zarr: expected a store of iitdask, found none")


@pytest.mark.parametrize(
    "url", ["http://h/x", "ftp://h/x", "zip://x.zip", "memory://x", "://", "sftp://me:SECRET@h/x"]
)
@pytest.mark.parametrize("command", [["run", "basic", "--store"], ["show"], ["work"]])
def test_commands__refuse_addresses_that_cannot_be_written(command, url, refused):
    line = refused(*command, url)
    assert line.startswith("iitdask: store: expected a path or an address s3://, gs:// or az://")
    assert "SECRET" not in line


def test_run__hands_options_to_the_driver_in_an_allocation():
    choice = ClusterChoice("slurm-allocation", 2, None, JobOptions(), adapt=False)
    script = choice.script("a.yaml", "s", ["--cache", "c", "--join"])
    assert "run a.yaml --store s --cluster allocation --cache c --join" in script


def test_run__takes_an_address_as_the_folder_of_stores(monkeypatch, refused):
    monkeypatch.setenv("IITDASK_STORE", "ftp://host/stores/")
    assert "got 'ftp://host/stores/basic.zarr'" in refused("run", "basic")


STUDY = """
substrate: {tpm: [[0, 0], [0, 0], [1, 0], [1, 0]], connectivity: [[1, 1], [1, 1]]}
state: "00"
theory: THEORY
"""


@pytest.mark.filterwarnings("always::iitdask.errors.IdleEdgesWarning")
def test_remark_on_a_network__waits_for_the_end_and_leaves_errors_alone(tmp_path, capsys):
    for theory, code in (("iit5", 2), ("iit4", 0)):
        study = tmp_path / f"{theory}.yaml"
        study.write_text(STUDY.replace("THEORY", theory))
        with pytest.raises(SystemExit) as stop:
            main(["plan", str(study)])
        assert stop.value.code == code
        (line,) = capsys.readouterr().err.splitlines()
        assert ("expected one of iit4" in line) == (code == 2)
        assert ("3 declared edges make no difference" in line) == (code == 0)
