"""Cases of public bug reports and of users' data files that once failed, one test each.

Each is as small as it gets. Commands run in an empty directory, in this process where nothing of
a process is at stake.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from iitdask.cli.app import main

ROOT = Path(__file__).parents[1]
LINE_LIMIT = 400
BASIC_PHI = 0.4150374992788438
BASIC_TPM = [
    *([0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]),
    *([1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]),
]
THREE_UNITS = (
    "substrate: {units: [{label: A, gate: OR, inputs: [B, C]}, {label: B, gate: COPY, "
    "inputs: [C]}, {label: C, gate: XOR, inputs: [A, B]}]}\n"
)


def not_yet(reason):
    return pytest.mark.xfail(strict=True, reason=reason)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IITDASK_STORE", raising=False)


class Commands:
    """Runs commands in this process and gives what they print."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *words, code=0):
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        said = self.capsys.readouterr()
        assert stop.value.code == code, said.err
        return said.out if code == 0 else self.line(said.err)

    def line(self, err):
        """The one line of complaint, after progress at most."""
        line = err.splitlines()[-1]
        assert line.startswith("iitdask: ")
        assert err.count("iitdask: ") == 1
        assert len(line) <= LINE_LIMIT
        return line


@pytest.fixture
def command(capsys):
    return Commands(capsys)


def process(*words, **changes):
    """Run a command as a process of its own, with other variables of the environment."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    out = changes.pop("out", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, "-m", "iitdask", *words],
        env={**os.environ, "PYTHONPATH": path, **changes},
        stdout=out,
        stderr=subprocess.PIPE,
        timeout=600,
        check=False,
    )


class FactoredTPM:
    """What PyPhi 2.x offers: one table per unit, and no array of the whole."""

    def __init__(self, on):
        columns = [on[..., i] for i in range(on.shape[-1])]
        self.factors = tuple(np.stack([1 - column, column], -1) for column in columns)
        self.alphabet_sizes = (2,) * on.shape[-1]

    def factor(self, i):
        return self.factors[i]


class PyphiSubstrate:
    """A substrate with the public attributes of PyPhi 2.x."""

    def __init__(self, on, cm, labels):
        self.tpm = self.factored_tpm = FactoredTPM(on)
        self.cm, self.node_labels = cm, labels

    def joint_tpm(self):
        return np.stack(self.tpm.factors, -2)


def test_from_pyphi__reads_substrates_of_version_2():
    on = np.array(BASIC_TPM, float).reshape((2, 2, 2, 3), order="F")
    substrate = PyphiSubstrate(on, [[0, 0, 1], [1, 0, 1], [1, 1, 0]], ("A", "B", "C"))
    assert float(iit.sia(iit.Substrate.from_pyphi(substrate), "100").phi) == BASIC_PHI


LABELS_THAT_CONCATENATE = """
substrate:
  labels: [A, B, AB]
  tpm: [[0.261612, 0.298491, 0.814226], [0.091916, 0.600101, 0.728561],
        [0.187901, 0.055147, 0.274969], [0.657433, 0.562266, 0.150062],
        [0.432631, 0.669297, 0.422785], [0.633184, 0.967436, 0.683065],
        [0.391625, 0.187253, 0.345961], [0.511066, 0.891209, 0.775564]]
state: "111"
compute: ces
"""


def test_run__tells_a_mechanism_from_a_unit_called_like_it(command):
    Path("s.yaml").write_text(LABELS_THAT_CONCATENATE)
    command("run", "s.yaml", "--store", "s", "--quiet")
    command("export", "s", "o.csv")
    with Path("o.csv").open() as file:
        names = [row["mechanism"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names)) == 5
    assert {"A,B", "AB"} <= set(names)


@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["ascii", "posix"],
)
def test_run__prints_what_a_terminal_cannot_encode_otherwise(changes):
    done = process("run", "basic", "--store", "s", **changes)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"phi" in done.stdout


def test_run__says_in_one_line_that_stdout_is_full(command):
    with Path("/dev/full").open("w") as full:
        done = process("run", "basic", "--store", "s", "--quiet", out=full)
    assert done.returncode == 1
    assert "stdout" in command.line(done.stderr.decode())
    assert "complete" in command("status", "s") or "finished" in command("status", "s")


@pytest.mark.slow
def test_run__says_in_one_line_that_no_scheduler_answers(command):
    done = process("run", "basic", "--store", "s", "--cluster", "tcp://127.0.0.1:9")
    assert done.returncode in (1, 2)
    assert "tcp://127.0.0.1:9" in command.line(done.stderr.decode())


def test_fresh__computes_behind_a_symbolic_link_and_leaves_it(command):
    Path("real").mkdir()
    Path("link").symlink_to("real")
    command("run", "basic", "--store", "link", "--quiet")
    command("run", "basic", "--store", "link", "--quiet", "--fresh")
    assert Path("link").is_symlink()
    command("verify", "link")


def test_run__refuses_a_store_at_an_address_that_cannot_be_written(command):
    line = command("run", "basic", "--store", "http://127.0.0.1:9/x", code=2)
    for word in ("http://127.0.0.1:9/x", "s3://", "gs://", "az://"):
        assert word in line


def test_run__needs_no_temporary_directory_of_dask(command):
    done = process("run", "basic", "--store", "s", DASK_TEMPORARY_DIRECTORY="/proc/nope")
    if done.returncode:
        assert "/proc/nope" in command.line(done.stderr.decode())
    else:
        assert b"Traceback" not in done.stderr


def test_run__refuses_a_cache_that_is_a_file(command):
    Path("f").touch()
    line = command("run", "basic", "--store", "s", "--cache", "f", "--quiet", code=2)
    assert "cache" in line


def test_study__refuses_deep_nesting(command):
    depth = 3000
    Path("s.yaml").write_text(f"substrate: {{tpm: {'[' * depth}{']' * depth}}}\n")
    assert "s.yaml" in command("run", "s.yaml", code=2)


def test_study__refuses_integers_of_thousands_of_digits(command):
    Path("s.yaml").write_text(f"substrate: {{tpm: [[{'9' * 5000}]]}}\nstate: '0'\n")
    assert "s.yaml" in command("run", "s.yaml", code=2)


def test_study__refuses_a_key_that_is_given_twice(command):
    Path("s.yaml").write_text(
        f'{THREE_UNITS}state: "100"\ncompute: sia\n# pasted from another study:\nstate: "000"\n'
    )
    line = command("run", "s.yaml", code=2)
    for word in ("state", "twice", "2", "5"):
        assert word in line


def test_from_tpm__refuses_masked_probabilities():
    table = np.ma.masked_array(BASIC_TPM, dtype=float)
    table[0, 0] = np.ma.masked
    with pytest.raises(iit.errors.SubstrateError, match=r"row 0.*'A'|'A'.*row 0"):
        iit.Substrate.from_tpm(table)


def test_study__refuses_unit_numbers_beside_labels_of_digits(command):
    study = {
        "substrate": {"tpm": BASIC_TPM, "labels": ["1", "2", "3"]},
        "state": "100",
        "units": [1, 2],
        "compute": "sia",
    }
    Path("s.yaml").write_text(json.dumps(study))  # JSON is YAML
    assert "quote" in command("run", "s.yaml", code=2)


def test_fresh__begins_again_where_the_root_of_a_store_is_cut_off(command):
    command("run", "basic", "--store", "s", "--quiet")
    Path("s/zarr.json").write_bytes(b"")
    with pytest.raises(SystemExit):
        main(["run", "basic", "--store", "s", "--quiet"])
    command.capsys.readouterr()
    command("run", "basic", "--store", "s", "--quiet", "--fresh")
    command("verify", "s")


def test_fresh__keeps_what_others_wrote_into_the_store(command):
    command("run", "basic", "--store", "s", "--quiet")
    Path("s/notes.txt").write_text("mine")
    try:
        main(["run", "basic", "--store", "s", "--quiet", "--fresh"])
    except SystemExit as stop:
        said = command.capsys.readouterr().err
        assert stop.code == 0 or "notes.txt" in said, said
    assert Path("s/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("field", ["state: 100", "state: '100'\nunits: 12"], ids=["state", "units"])
def test_study__says_that_a_number_must_be_quoted(command, field):
    Path("s.yaml").write_text(f"{THREE_UNITS}{field}\ncompute: sia\n")
    assert "quote" in command("run", "s.yaml", code=2)


def test_load__cuts_values_in_its_message():
    Path("tpm.json").write_text(json.dumps(np.zeros((1024, 10)).tolist()))
    with pytest.raises(iit.errors.InputError, match=r"tpm\.json") as caught:
        iit.load("tpm.json")
    assert len(str(caught.value)) < LINE_LIMIT


def test_substrates__take_tables_of_single_precision():
    rows = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]]
    one = iit.Substrate.from_factors([([0], np.array(rows, "f4"))])
    two = iit.Substrate.from_tpm(np.array([[0.9, 0.1], [0.1, 0.9]], "f4"))
    for substrate in (one, two):
        sums = substrate.factors[0].table.sum(axis=-1)
        np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-15)


def test_sia__says_that_a_client_is_no_address():
    with pytest.raises(iit.errors.InputError, match="client"):
        iit.sia(iit.examples.load("basic"), "100", client="tcp://127.0.0.1:8786")
