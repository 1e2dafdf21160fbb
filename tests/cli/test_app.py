"""Every command ends in one line, whatever comes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iitdask.cli import app, store_commands
from iitdask.cli.app import main
from iitdask.errors import InputError, StoreError

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "unknown": (KeyError("a\nb"), 1, r"unexpected KeyError: 'a\nb'; --debug shows more"),
    "memory": (MemoryError(), 1, "out of memory"),
    "path": (PermissionError(13, "Permission denied", "x/y"), 1, "x/y: Permission denied; see"),
    "bytes": (PermissionError(13, "Permission denied", b"x/y"), 1, "x/y: Permission denied; see"),
    "input": (InputError("colour: expected red"), 2, "colour: expected red"),
    "run": (StoreError("no space"), 1, "no space"),
    "secret": (StoreError("s3://key:SECRET@b/x?sig=SECRET is gone"), 1, "s3://...@b/x?... is gone"),
    "long": (RuntimeError("x" * 5000), 1, "--debug shows more"),
}


def end_of(*words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code


def failing(monkeypatch, error):
    def status(store):
        raise error

    monkeypatch.setattr(store_commands, "status", status)


@pytest.mark.parametrize("name", EXPECTED)
def test_main__says_any_error_in_one_line(name, monkeypatch, capsys):
    error, code, expected = EXPECTED[name]
    failing(monkeypatch, error)
    assert end_of("status", "x") == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("iitdask: ")
    assert expected in line
    assert len(line) < 400
    assert "SECRET" not in line


def test_debug__shows_the_traceback_before_the_line(monkeypatch, capsys):
    failing(monkeypatch, KeyError("a"))
    assert end_of("status", "x", "--debug") == 1
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" in lines[0]
    assert lines[-1].startswith("iitdask: unexpected KeyError")


def test_interrupted__names_no_secret():
    message = app._interrupted_message(["run", "a.yaml", "--store", "s3://key:SECRET@b/x"])
    assert message.endswith("run a.yaml --store 's3://...@b/x'") or "s3://...@b/x" in message
    assert "SECRET" not in message


SIGNALLED = """
import os, signal, sys
from iitdask.cli import app, store_commands

def status(store):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
    except KeyboardInterrupt:
        raise TypeError("what NumPy makes of it") from None

store_commands.status = status
app.main(["status", "x"])
"""


def test_main__takes_any_error_after_a_signal_for_an_interruption():
    done = run_python("-c", SIGNALLED)
    assert (done.returncode, done.stderr) == (130, "iitdask: interrupted\n")


LOST = """
from iitdask.cli import app, store_commands
from iitdask.errors import InterruptedRunError

def status(store):
    raise InterruptedRunError("the scheduler is out of reach; run again")

store_commands.status = status
app.main(["status", "x"])
"""


def test_main__fails_where_a_cluster_went_away_and_nobody_sent_a_signal():
    done = run_python("-c", LOST)
    expected = (1, "", "iitdask: the scheduler is out of reach; run again\n")
    assert (done.returncode, done.stdout, done.stderr) == expected


def run_python(*words, **more):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, **more.pop("env", {})}
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.run([sys.executable, *words], env=env, timeout=600, check=False, **how)


IMPORTING = """
import os, signal, sys

class Importer:
    def find_spec(self, name, path=None, target=None):
        if name == "iitdask.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Importer())
import iitdask.__main__
"""


def test_interruption__is_quiet_while_the_program_is_imported():
    done = run_python("-c", IMPORTING)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_stdout__that_lacks_characters_gets_plain_ones(monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(
        store_commands, "status", lambda store: sys.stdout.write("A→B φ \N{SNOWMAN} \udc80") and 0
    )
    assert end_of("status", "x") == 0
    assert stream.buffer.getvalue() == rb"A->B phi \u2603 \udc80"
    assert stream.errors == "strict"


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["examples"], ["examples", "--help"]])
def test_stdout__that_is_full_is_said(words):
    with Path("/dev/full").open("w") as full:
        done = run_python("-m", "iitdask", *words, stdout=full)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("iitdask: stdout cannot be written (No space left on device)")


def test_stdout__that_nobody_reads_is_said():
    reading, writing = os.pipe()
    os.close(reading)
    done = run_python("-m", "iitdask", "examples", stdout=writing)
    os.close(writing)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("iitdask: stdout cannot be written (Broken pipe)")


def test_streams__may_be_closed():
    shell = f"{sys.executable} -m iitdask --version >&- 2>&-"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["sh", "-c", shell], env={**os.environ, "PYTHONPATH": path}, timeout=600, check=False
    )
    assert done.returncode == 0


def test_stderr__that_is_full_ends_no_run(tmp_path):
    with Path("/dev/full").open("w") as full:
        words = ("-m", "iitdask", "run", "basic", "--store", str(tmp_path / "s"))
        done = run_python(*words, stderr=full)
    assert done.returncode == 0
    assert "0.415037 bits" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rnu"], "got 'rnu'; did you mean 'run'?"),
        (["run", "bascic"], "found none; did you mean 'basic'?"),
        (["plan", "typo.yaml"], "unknown field `thoery`; did you mean 'theory'"),
        (["plan", "option.yaml"], "unknown field `mesure`; did you mean 'measure'? its options"),
        (["plan", "empty.yaml"], "empty.yaml: expected a mapping with `substrate`, got nothing"),
    ],
)
def test_misspelt_words__say_what_was_meant(words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    about = "substrate: {example: basic}\nstate: '100'\n"
    (tmp_path / "typo.yaml").write_text(f"{about}thoery: iit4\n")
    (tmp_path / "option.yaml").write_text(f"{about}theory: {{name: iit3, mesure: AID}}\n")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(SystemExit, match="2"):
        app.main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
