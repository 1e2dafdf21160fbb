"""What the README and deploy/README.md show can be run, and gives what they say."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from iitdask.cli.app import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEPLOY = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
HELM = os.environ.get("IITDASK_HELM") or shutil.which("helm")
VALUE = re.compile(r"\d[\d.]*( (True|False))?")
ELSEWHERE = {
    "python3 -m venv": "installs; .ci/run does",
    "iitdask run my.yaml --cluster slurm": "needs SLURM; tests/slurm has one",
    "deploy/kubernetes/build.sh": "needs Docker; tests/deploy has a stand-in",
    "helm": "needs a cluster; tests/deploy renders the chart",
    "kubectl": "needs a cluster; tests/kubernetes has one",
    "--from-literal": "goes on with kubectl",
    "--namespace": "goes on with helm",
    "--set": "goes on with helm",
    "echo": "writes a file of values; see test_deploy_charts__are_rendered",
}
"""Beginnings of commands that cannot be run here, and why."""


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """Lines of all shell blocks without their comments."""
    lines = "\n".join(blocks(text, "sh")).splitlines()
    return [line for each in lines if (line := each.split(" #")[0].strip()) and line[0] != "#"]


def is_elsewhere(command):
    """Return True for a command that cannot be run here."""
    return any(command.startswith(beginning) for beginning in ELSEWHERE)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IITDASK_STORE", raising=False)


def run(command):
    """Run one command of ours, its output into a file if it says so."""
    words, _, file = command.removeprefix(".venv/bin/").partition(" > ")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
        main(shlex.split(words)[1:])
    assert stop.value.code == 0, command
    if file:
        Path(file).write_text(out.getvalue())
    return out.getvalue()


def promised(block):
    """Values that comments of a block say it prints, in order."""
    comments = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)
    return [match.group() for text in comments if (match := VALUE.match(text))]


def test_python_blocks__run_in_order_and_print_what_they_say():
    namespace, found = {}, []
    for block in blocks(README, "python"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block, "README.md", "exec"), namespace)
        lines = out.getvalue().splitlines()
        for value in promised(block):
            assert value in lines
            lines = lines[lines.index(value) + 1 :]
            found.append(value)
    assert len(found) >= 4
    assert "0.4150374992788438" in found


def test_pictures__are_there():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert "docs/_static/structure.svg" in pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 100_000


def test_commands__are_run_here_or_named():
    for text in (README, DEPLOY):
        ours = [each for each in commands(text) if re.match(r"(\S*/)?iitdask ", each)]
        assert ours
        for command in commands(text):
            assert command in ours or is_elsewhere(command), command
    assert all(any(c.startswith(b) for c in commands(README + DEPLOY)) for b in ELSEWHERE)


def test_readme_commands__run_in_order():
    """All but the one that starts four processes, in place of which there are none."""
    done = set()
    for command in commands(README):
        if not is_elsewhere(command) and command.startswith("iitdask"):
            run(command.replace(" --workers 4", ""))
            done.add(command.split()[1])
    names = "examples run work show view plan estimate status export verify tidy"
    assert done == set(names.split())
    assert Path("my.html").stat().st_size > 10**6
    assert Path("my.csv").read_text().startswith("mechanism")


@pytest.mark.slow
def test_readme_commands__run_on_worker_processes():
    run("iitdask examples basic > my.yaml")
    (command,) = [each for each in commands(README) if "--workers" in each]
    assert "0.415" in run(command)


def test_deploy_commands__are_understood():
    """Submitting is left to clusters; what would be submitted is printed here."""
    run("iitdask examples basic > my.yaml")
    run("iitdask run my.yaml")
    for command in commands(DEPLOY):
        if command.startswith(".venv/bin/iitdask run"):
            script = run(f"{command} --print-job")
            assert re.search(r"^#(SBATCH -p|PBS -q|BSUB -q) batch$", script, re.MULTILINE)
        elif command.startswith(".venv/bin/iitdask"):
            assert "finished" in run(command) or "complete" in run(command)


def test_deploy_python__runs_on_any_cluster():
    from distributed import LocalCluster

    (block,) = blocks(DEPLOY, "python")
    quiet = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with LocalCluster(n_workers=1, processes=False, **quiet) as cluster:
        namespace = {"start_cluster": lambda: cluster}
        exec(compile(block, "deploy/README.md", "exec"), namespace)
        namespace["client"].close()
    assert namespace["tree"].attrs["theory"] == "iit4"
    assert Path("my.zarr/result").is_dir()


@pytest.mark.skipif(HELM is None, reason="needs helm; .ci/run tests fetches it")
def test_deploy_charts__are_rendered():
    """Each study that the README installs, in place of a cluster, on paper."""
    shutil.copytree(ROOT / "deploy", "deploy")
    run("iitdask examples basic > my.yaml")
    whole = commands(DEPLOY.replace("\\\n", " "))
    found = []
    for command in whole:
        words = command.partition(" > ")[0].split()
        if words[0] == "echo":
            subprocess.run(["sh", "-c", command], check=True)
        if words[0] == "helm" and "deploy/kubernetes" in words:
            words = [HELM, "template", *words[2:]]
            found += yaml.safe_load_all(subprocess.check_output(words, text=True))
    found = [each for each in found if each]
    assert len([each for each in found if each["kind"] == "DaskCluster"]) >= 4
    assert f"image: REGISTRY/iitdask:{VERSION}" in yaml.safe_dump(found)


def test_version__is_the_same_wherever_it_is_written():
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)( \(unreleased\))?$", CHANGELOG, re.MULTILINE)
    assert cited.group(1) == VERSION
    assert newest.group(1) + (".dev0" if newest.group(2) else "") == VERSION


def test_deploy_flags__exist():
    flags = set(re.findall(r"`(--[a-z-]+)", DEPLOY)) - {"--requeue"}  # that one is sbatch's
    text = run("iitdask run --help") + run("iitdask status --help")
    assert {flag for flag in flags if flag not in text} == set()


def test_deploy_preset__is_read(monkeypatch):
    (preset,) = blocks(DEPLOY, "yaml")
    content = yaml.safe_load(preset)
    assert set(content["jobqueue"]) == {"mysite"}
    Path("dask.yaml").write_text(preset)
    import dask

    run("iitdask examples basic > my.yaml")
    with dask.config.set(content):
        script = run("iitdask run my.yaml --cluster slurm-array --site mysite --print-job")
    for word in ("brains", "batch", "module load python/3.12", "08:00:00"):
        assert word in script
    assert "#SBATCH --mem" not in script
