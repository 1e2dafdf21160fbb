"""What the command line says of itself: help, examples, completion, the order of stages."""

import io
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

import iitdask as iit
from iitdask.cli import output, run_command
from iitdask.cli.app import COMMANDS, all_commands, main

GROUPS = {
    "Study": ["SPEC", "--budget"],
    "Store": ["--store", "--fresh", "--join", "--cache"],
    "Workers, on this machine or a cluster": ["--cluster", "--workers", "--memory"],
    "Jobs of a queue: SLURM, PBS, LSF, SGE, HTCondor, OAR": [
        *("--cores", "--walltime", "--partition", "--account", "--interface", "--port", "--tls"),
        *("--site", "--scratch", "--directive", "--throttle", "--adapt", "--print-job"),
    ],
    "Kubernetes": ["--manifest"],
    "Output": ["--quiet", "--dashboard", "--dashboard-port"],
}
DRAWN = re.compile("[\x1b─-╿]")
STAGES = ["system", "marginals", "mice", "details", "repertoires"]


@pytest.fixture
def said(capsys):
    def say(*words):
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        found = capsys.readouterr()
        assert stop.value.code == 0, found.err
        return found.out

    return say


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_run_help__groups_options_by_what_they_are_about(said):
    groups = re.split(r"╭─ (.+?) ─+╮", said("run", "--help"))[1:]
    found = {
        title: re.findall(r"^│ (--[a-z-]+|[A-Z]+)", text, re.MULTILINE)
        for title, text in zip(groups[::2], groups[1::2], strict=True)
    }
    assert found == GROUPS
    assert list(found) == list(GROUPS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help__has_no_negations_no_empty_defaults_and_no_broken_lines(command, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    text = said(command, "--help")
    assert not re.search(r"--(no|empty)-|default: (False|None|\(\))", text)
    sentences = [line.strip("│ ") for line in text.splitlines() if line.startswith("│")]
    assert sentences or command == "tidy"
    assert all(re.search(r"(\.|\])$", each) for each in sentences), sentences


@pytest.mark.parametrize("word", ["--no-tls", "--empty-directive", "--no-quiet"])
def test_run__has_no_negations(word, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "basic", word])
    assert stop.value.code == 2
    assert word in capsys.readouterr().err


def test_examples__are_plain_lines_when_nobody_looks(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = said("examples").splitlines()
    assert [line.split()[0] for line in lines] == ["name", *iit.examples.names()]
    assert not DRAWN.search("".join(lines))


@pytest.mark.parametrize("columns", [60, 200])
def test_examples__never_cut_names_on_a_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    rows = [(name, "a long title " * 9, "ces") for name in iit.examples.names()]
    output.print_table(("name", "source", "compute"), rows, whole=("name", "compute"))
    text = re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue())  # without bold
    assert "…" not in text
    assert set(iit.examples.names()) <= set(text.split())
    assert max(map(len, text.splitlines())) <= columns


def test_print_table__takes_brackets_and_colons_for_what_they_are(capsys):
    output.print_table(("a", "b"), [("[red]", ":cat:")])
    assert capsys.readouterr().out.split() == ["a", "b", "[red]", ":cat:"]


def test_stages__have_one_order_everywhere(said, tmp_path):
    store = str(tmp_path / "a.zarr")
    said("run", "iit4-2023-fig4", "--store", store)
    for words in (("status", store), ("plan", "iit4-2023-fig4"), ("estimate", "iit4-2023-fig4")):
        firsts = [line.split()[0] for line in said(*words).splitlines() if line.strip()]
        assert [name for name in firsts if name in STAGES] == STAGES, words


@pytest.mark.parametrize("store", ["a.zarr", "/a/folder with spaces/a-very-long-name-indeed.zarr"])
def test_next_steps__are_aligned_whatever_the_store_is_called(store, capsys):
    run_command._print_footer(1.0, store, is_first=True)
    steps = capsys.readouterr().out.split("Try next:\n")[1].splitlines()
    begins = {re.search(r"\S  +(?=\S)", step[2:]).end() for step in steps}
    assert len(begins) == 1


BASH = """
source /dev/stdin
COMP_WORDS=({words}); COMP_CWORD={last}; _iitdask; echo "${{COMPREPLY[@]}}"
"""


def completed(words):
    """What bash offers for the last of some words."""
    script = subprocess.run(
        [shutil.which("bash"), "-c", BASH.format(words=words, last=len(words.split()) - 1)],
        input=all_commands().generate_completion(prog_name="iitdask", shell="bash"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert script.stderr == ""
    return script.stdout.split()


def test_completion__of_bash_offers_commands_and_their_options():
    assert completed("iitdask st") == ["status"]
    assert set(completed("iitdask ex")) == {"export", "examples"}
    assert set(completed("iitdask run --dash")) == {"--dashboard", "--dashboard-port"}
    assert completed("iitdask run --no-") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion__knows_every_command_and_option(shell, said):
    script = said("completion", shell)
    options = {name.removeprefix("--") for names in GROUPS.values() for name in names[1:]}
    assert {*COMMANDS, *options} <= set(re.findall(r"[a-z][a-z-]*[a-z]", script))
    if program := shutil.which(shell):
        done = subprocess.run(
            [program, "-n"], input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_reference__names_commands_alone_whoever_runs_the_process(monkeypatch):
    other = SimpleNamespace(name="other.__main__", origin="/other/__main__.py")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", other)
    monkeypatch.setattr(sys, "argv", [other.origin])
    text = all_commands().generate_docs(output_format="markdown")
    usages = re.findall(r"^```console\n(iitdask \w+ .*)\n```$", text, re.MULTILINE)
    assert [line.split()[1] for line in usages] == list(COMMANDS)
    assert "iitdask work [OPTIONS] STORE" in usages
    assert [line for line in usages if " -m " in line] == []
