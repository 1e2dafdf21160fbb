"""Kernels in a folder of the user's own: ``iitdask warm`` and ``iitdask work --kernels``."""

import shlex
from pathlib import Path

import pytest

from iitdask.cli.app import main
from iitdask.errors import InputError
from iitdask.kernels import jit
from iitdask.kernels.kernel_files import pack_folder, write_checked
from iitdask.study.run import adopt_kernels, kernel_options, save_kernels


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """The cache of one machine, with a kernel in it, and the empty one of another."""
    full, empty = tmp_path / "one/kernels-1", tmp_path / "two/kernels-1"
    for folder in (full, empty):
        folder.mkdir(parents=True, mode=0o700)
    write_checked(str(full / "search.all-3.py311.nbi"), b"index")
    monkeypatch.setattr(jit, "_DIRECTORY", full)
    return full, empty


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_kernels__travel_through_a_folder(caches, tmp_path, monkeypatch):
    full, empty = caches
    sha256 = save_kernels(str(tmp_path / "mine"))
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(jit, "_DIRECTORY", empty)
    assert not adopt_kernels(str(tmp_path / "mine"), "0" * 64)
    assert names(empty) == []
    assert adopt_kernels(str(tmp_path / "mine"), sha256)
    assert names(empty) == names(full)


def test_kernels__of_another_archive_or_machine_are_left_alone(caches, tmp_path, monkeypatch):
    full, empty = caches
    sha256 = save_kernels(str(tmp_path / "mine"))
    (archive,) = (tmp_path / "mine").iterdir()
    write_checked(str(full / "evil-3.py311.nbi"), b"evil")
    write_checked(str(archive), pack_folder(full))
    monkeypatch.setattr(jit, "_DIRECTORY", empty)
    assert not adopt_kernels(str(tmp_path / "mine"), sha256)
    monkeypatch.setattr(jit, "_DIRECTORY", empty.with_name("kernels-2"))
    assert not adopt_kernels(str(tmp_path / "mine"), sha256)
    assert names(empty) == []


@pytest.mark.usefixtures("caches")
def test_kernels__in_a_folder_that_others_can_write_to_are_refused(tmp_path):
    sha256 = save_kernels(str(tmp_path / "mine"))
    (tmp_path / "mine").chmod(0o777)
    with pytest.raises(InputError, match="expected a folder that is yours alone"):
        adopt_kernels(str(tmp_path / "mine"), sha256)


def test_archive_planted_in_a_store__is_ignored(caches, tmp_path, monkeypatch, capsys):
    full, empty = caches
    with pytest.raises(SystemExit) as end:
        main(["run", "basic", "--quiet", "--store", str(tmp_path / "s.zarr")])
    assert end.value.code == 0
    archive = pack_folder(full)
    for place in ("kernels-1.zip", "_kernels/kernels-1.zip", "log/kernels-1.zip"):
        path = tmp_path / "s.zarr" / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(archive)
    monkeypatch.setattr(jit, "_DIRECTORY", empty)
    monkeypatch.setattr("iitdask.cli.run_command._compile_kernels", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main(["work", str(tmp_path / "s.zarr"), "--quiet"])
    assert end.value.code == 0
    assert names(empty) == []
    capsys.readouterr()


def test_warm__prints_options_of_work(caches, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("iitdask.cli.run_command._compile_kernels", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main(["warm", "basic", "--kernels", str(tmp_path / "mine"), "--quiet"])
    assert end.value.code == 0
    option, folder, _, sha256 = shlex.split(capsys.readouterr().out)
    assert (option, Path(folder)) == ("--kernels", tmp_path / "mine")
    monkeypatch.setattr(jit, "_DIRECTORY", caches[1])
    assert adopt_kernels(folder, sha256)


def test_work__takes_kernels_only_with_their_digest(capsys):
    with pytest.raises(SystemExit) as end:
        main(["work", "s.zarr", "--kernels", "mine"])
    assert end.value.code == 2
    assert "expected --kernels-sha256 beside it" in capsys.readouterr().err


def test_kernels_of_an_array__lie_beside_the_cache(caches, monkeypatch):
    option, folder, _, sha256 = kernel_options()
    assert (option, Path(folder)) == ("--kernels", caches[0].parent / "archives")
    monkeypatch.setattr(jit, "_DIRECTORY", caches[1])
    assert adopt_kernels(folder, sha256)
    monkeypatch.setattr(jit, "_DIRECTORY", None)
    assert kernel_options() == []
