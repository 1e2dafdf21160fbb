"""The command line as a user meets it: in an empty directory, and mostly in another process.

What is refused or only read needs no process of its own, whose start takes seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import iitdask as iit
from iitdask.cli.app import main
from iitdask.theory.catalog import THEORIES
from iitdask.theory.options import describe_options

ROOT = Path(__file__).parents[2]


class Terminal:
    """Runs ``python -m iitdask`` in one directory."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *words):
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
        env.pop("IITDASK_STORE", None)
        return subprocess.run(
            [sys.executable, "-m", "iitdask", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=env,
            timeout=600,
        )

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return name


class Inside(Terminal):
    """Runs a command in this process."""

    def __init__(self, folder, capsys):
        super().__init__(folder)
        self._capsys = capsys

    def __call__(self, *words):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("COLUMNS", "100")
            patch.delenv("IITDASK_STORE", raising=False)
            with pytest.raises(SystemExit) as stop:
                main(list(words))
        said = self._capsys.readouterr()
        return subprocess.CompletedProcess(words, stop.value.code, said.out, said.err)


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path)


@pytest.fixture
def inside(tmp_path, capsys):
    return Inside(tmp_path, capsys)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A directory with a finished store of the example ``xor``."""
    terminal = Terminal(tmp_path_factory.mktemp("full"))
    done = terminal("run", "xor")
    assert done.returncode == 0, done.stderr
    return terminal


@pytest.fixture
def inside_full(full, capsys):
    return Inside(full.folder, capsys)


def refused(done, code, *words):
    """One line of complaint, after progress at most; no traceback."""
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert lines[-1].startswith("iitdask: ")
    assert sum(line.startswith("iitdask: ") for line in lines) == 1
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word.lower() in lines[-1].lower()


def test_help__is_instant_and_lists_the_commands(terminal):
    for words in ((), ("--help",), ("-h",), ("help",)):
        done = terminal(*words)
        assert done.returncode == 0
        assert done.stderr == ""
        for command in ("run", "show", "examples"):
            assert f"\n  {command} " in done.stdout


def test_version(terminal):
    done = terminal("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, iit.__version__, "")


@pytest.mark.parametrize("command", ["run", "show", "examples"])
def test_command_help(command, inside):
    done = inside(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert command in done.stdout


def test_run__without_arguments_computes_a_published_system_and_says_what_next(terminal):
    done = terminal("run")
    assert done.returncode == 0, done.stderr
    assert "0.171863 bits" in done.stdout
    assert "1.56269 bits" in done.stdout
    assert "Try next" in done.stdout
    assert (terminal.folder / "iit4-2023-fig4.zarr").is_dir()
    assert [path.name for path in terminal.folder.iterdir()] == ["iit4-2023-fig4.zarr"]


def test_run__again_computes_nothing(inside_full):
    again = inside_full("run", "xor")
    assert again.returncode == 0
    assert "9.5 bits" in again.stdout
    stages = [line for line in again.stderr.splitlines() if line.startswith(("system:", "mice:"))]
    assert len(stages) == 2
    assert all("already there" in line for line in stages)


def test_run__fresh_begins_again(terminal):
    assert terminal("run", "basic").returncode == 0
    again = terminal("run", "basic", "--fresh")
    assert again.returncode == 0
    assert "already there" not in again.stderr


def test_run__quiet_shows_the_result_only(inside_full):
    done = inside_full("run", "xor", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "9.5 bits" in done.stdout


def test_run__store_may_be_elsewhere(terminal):
    done = terminal("run", "basic", "--store", "elsewhere/a.zarr")
    assert done.returncode == 0, done.stderr
    assert (terminal.folder / "elsewhere" / "a.zarr" / "zarr.json").exists()


def test_run__on_two_workers_gives_the_same(terminal):
    done = terminal("run", "basic", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "0.415037 bits" in done.stdout
    assert "Traceback" not in done.stderr


def test_show__is_what_run_showed(full):
    run, show = full("run", "xor", "--quiet"), full("show", "xor.zarr")
    assert show.returncode == 0
    assert show.stderr == ""
    assert show.stdout == run.stdout


def test_show__json_holds_everything(inside_full):
    done = inside_full("show", "xor.zarr", "--json")
    content = json.loads(done.stdout)
    assert content["attrs"]["big_phi"] == 9.5
    assert content["system"]["variables"]["phi"] == {"dims": [], "values": 1.5}
    assert content["relations"]["variables"]["count"]["values"] == 15
    labels = content["distinctions"]["variables"]["mechanism"]
    assert labels["dims"] == ["mechanism"]
    assert len(labels["values"]) == content["attrs"]["n_distinctions"]
    assert content["system"]["attrs"]["state"] == "000"


def test_show__json_is_strict(inside_full):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads(inside_full("show", "xor.zarr", "--json").stdout, parse_constant=refuse)


def test_theories__lists_every_option_with_its_values(inside):
    done = inside("theories")
    words = done.stdout.replace(",", " ").split()
    for name, options in THEORIES.items():
        assert f"{name}:" in words
        for row in describe_options(options):
            assert {row.name, *row.values} <= set(words)
    only = inside("theories", "iit3").stdout
    assert "AID" in only
    assert "iit4:" not in only
    refused(inside("theories", "iit5"), 2, "iit4, iit4-2026, iit3, causation2019")


def test_examples__lists_every_name(inside):
    done = inside("examples")
    assert done.returncode == 0
    words = done.stdout.split()
    assert all(name in words for name in iit.examples.names())


def test_examples__prints_a_study_that_runs(terminal):
    printed = terminal("examples", "basic")
    assert printed.returncode == 0
    terminal.write("my.yaml", printed.stdout)
    done = terminal("run", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert "0.415037 bits" in done.stdout
    assert (terminal.folder / "my.zarr").is_dir()


def test_run__reads_json_too(terminal):
    study = {"substrate": {"example": "basic"}, "state": [1, 0, 0], "compute": "sia"}
    done = terminal("run", terminal.write("my.json", json.dumps(study)))
    assert done.returncode == 0, done.stderr
    assert "0.415037 bits" in done.stdout
    assert "distinctions" not in done.stdout


BASIC = "substrate: {example: basic}\nstate: '100'\n"
BAD = {
    "not yaml": (BASIC + "units: [\n", ["study.yaml", "line 4", "YAML"]),
    "not a mapping": ("- 1\n", ["study.yaml", "expected a mapping", "list"]),
    "no substrate": ("state: '100'\n", ["study.yaml", "substrate"]),
    "no state": ("substrate: {example: basic}\n", ["study.yaml", "state", "got nothing"]),
    "unknown key": (BASIC + "colour: red\n", ["study.yaml", "colour"]),
    "unknown run key": (BASIC + "run: {speed: 1}\n", ["study.yaml", "speed", "run"]),
    "bad state": (BASIC.replace("100", "1007"), ["state", "expected 3 values", "'1007'"]),
    "state out of range": (BASIC.replace("100", "102"), ["state", "'C'", "0 to 1", "got 2"]),
    "unreachable state": (BASIC.replace("100", "011"), ["011", "unreachable"]),
    "unknown unit": (BASIC + "units: [A, Q]\n", ["units", "'Q'"]),
    "unknown theory": (BASIC + "theory: iit9\n", ["study.yaml", "theory", "iit4", "'iit9'"]),
    "unknown option": (BASIC + "theory: {name: iit4, cap: 1}\n", ["study.yaml", "theory", "cap"]),
    "unknown compute": (BASIC + "compute: all\n", ["study.yaml", "compute", "ces", "'all'"]),
    "unknown example": (BASIC.replace("basic", "basicc"), ["'basicc'", "'basic'"]),
    "unknown source": ("substrate: {network: 1}\nstate: '1'\n", ["substrate", "network"]),
    "bad probability": (
        "substrate: {tpm: [[0.5, 0.5], [0.1, 2.0], [0, 0], [1, 1]]}\nstate: '10'\n",
        ["study.yaml", "substrate", "row 1", "2.0"],
    ),
    "missing table": ("substrate: {tpm: no.npy}\nstate: '10'\n", ["no.npy"]),
}


@pytest.mark.parametrize("name", BAD)
def test_run__refuses_a_wrong_study_in_one_line(name, inside):
    text, words = BAD[name]
    done = inside("run", inside.write("study.yaml", text))
    refused(done, 2, *words)
    assert done.stdout == ""
    assert not list(inside.folder.glob("*.zarr"))


WRONG = {
    "missing file": (["run", "none.yaml"], ["none.yaml", "iitdask examples"]),
    "unknown command": (["frobnicate"], ["run", "show", "'frobnicate'"]),
    "unknown option": (["run", "--colour", "red"], ["run", "--colour", "iitdask run --help"]),
    "workers": (["run", "basic", "--workers", "two"], ["--workers", "two", "int"]),
    "cluster": (["run", "basic", "--cluster", "moon"], ["--cluster", "local", "'moon'"]),
    "missing argument": (["show"], ["show", "store"]),
    "unknown example": (["examples", "nobody"], ["'nobody'"]),
    "too many words": (["run", "basic", "xor"], ["run", "xor"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words__are_refused_in_one_line(name, inside):
    words, expected = WRONG[name]
    refused(inside(*words), 2, *expected)


def test_show__of_no_store_is_refused_in_one_line(inside):
    done = inside("show", "nothing.zarr")
    refused(done, done.returncode, "nothing.zarr", "does not exist")
    assert done.returncode in (1, 2)


def test_run__on_the_store_of_another_study_is_refused_and_the_difference_named(inside_full):
    done = inside_full("run", "basic", "--store", "xor.zarr")
    refused(done, 2, "xor.zarr", "state=[0, 0, 0]", "[1, 0, 0]")
    assert "9.5 bits" in inside_full("show", "xor.zarr").stdout


def test_run__fresh_never_deletes_what_is_no_store(inside):
    precious = inside.write("precious.txt", "mine")
    done = inside("run", "basic", "--fresh", "--store", ".")
    refused(done, done.returncode, "expected a store of iitdask")
    assert done.returncode in (1, 2)
    assert (inside.folder / precious).read_text() == "mine"


def test_debug__shows_the_traceback(inside):
    done = inside("run", "none.yaml", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "SpecError" in done.stderr


def test_run__complexes_of_a_network(terminal):
    study = terminal.write(
        "fig1.yaml",
        "substrate: {example: iit4-2023-fig1}\nstate: '011'\ncompute: complexes\nmax_size: 2\n",
    )
    done = terminal("run", study)
    assert done.returncode == 0, done.stderr
    assert "AB       0.171863" in done.stdout
    assert "1 candidate systems; the search was not exhaustive" in done.stdout
    shown = terminal("show", "fig1.zarr", "--json")
    found = json.loads(shown.stdout)["complexes"]
    assert found["variables"]["complex"]["values"] == ["C", "AB"]
    assert found["attrs"]["excluded_by"]["OVERLAP"] == "2"


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
def test_run__refuses_memory_below_what_a_process_holds(terminal, workers):
    done = terminal("run", "xor", "--memory", "90MB", *workers, "--quiet")
    refused(done, 2, "--memory: expected", "MB or more, got 90 MB: a process holds about")
    assert not (terminal.folder / "xor.zarr").exists()


def test_tidy__deletes_what_killed_writers_left(terminal):
    assert terminal("run", "xor", "--quiet").returncode == 0
    left = terminal.folder / "xor.zarr/result/system/phi.elsewhere-1.0abc.partial"
    left.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    done = terminal("tidy", "xor.zarr")
    assert done.returncode == 0, done.stderr
    assert not left.exists()


def test_export__says_whose_rows_a_table_has(inside):
    noise = iit.Substrate.from_tpm([[0.5, 0.5]] * 4)
    iit.grains(noise, "10", store=inside.folder / "grains.zarr")
    done = inside("export", "grains.zarr", "rows.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(", 3 rows of /systems\n")
    assert len((inside.folder / "rows.csv").read_text().splitlines()) == 4
    assert "rows of" not in inside("export", "grains.zarr", "all.json").stdout
    iit.complexes(noise, "10", store=inside.folder / "none.zarr")
    assert inside("export", "none.zarr", "none.csv").stdout.endswith(", 0 rows of /complexes\n")
