"""``iitdask view`` and the pages that follow a run, from the command line."""

import socket
import subprocess
import sys

import pytest

from iitdask.cli.app import main


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("view") / "xor.zarr"
    assert left(["run", "xor", "--store", str(path), "--quiet"]) == 0
    return str(path)


def left(words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


def test_view__writes_one_file(store, tmp_path, capsys):
    path = tmp_path / "xor.html"
    assert left(["view", store, "--html", path]) == 0
    assert str(path) in capsys.readouterr().out
    html = path.read_text(encoding="utf-8")
    assert "Cause-effect structure of ABC in state 000" in html
    assert list(tmp_path.iterdir()) == [path]


def test_view__of_a_file_that_cannot_be_written_is_wrong_input(store, tmp_path, capsys):
    path = tmp_path / "none" / "xor.html"
    assert left(["view", store, "--html", path]) == 2
    assert capsys.readouterr().err.startswith("iitdask: --html: expected a file that can be")


def test_view__of_what_is_no_store_says_so(tmp_path, capsys):
    assert left(["view", tmp_path / "none.zarr"]) == 2
    assert "expected a store of iitdask" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["view"], ["status", "--serve"]], ids=["view", "status"])
def test_serving__at_a_port_in_use_is_wrong_input(words, store, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert left([words[0], store, *words[1:], "--port", port]) == 2
    assert f"cannot listen at 127.0.0.1:{port}" in capsys.readouterr().err


def test_run__serves_a_live_page_while_it_works(tmp_path):
    where = str(tmp_path / "live.zarr")
    words = ["run", "xor", "--store", where, "--quiet", "--dashboard"]
    done = subprocess.run(
        [sys.executable, "-m", "iitdask", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "live page: http://127.0.0.1:" in done.stderr
    assert "Phi" in done.stdout
