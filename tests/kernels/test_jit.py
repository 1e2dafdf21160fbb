"""Kernels are compiled as their decorators say, and kept in the cache directory."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import iitdask
from iitdask.kernels import jit


@pytest.fixture
def compiles_anew(monkeypatch):
    """Compile kernels without the cache: numba cannot show the code of one that it loads."""
    monkeypatch.setattr(jit, "_DIRECTORY", None)


@pytest.mark.parametrize("decorate", [jit.kernel, jit.leaf])
def test_kernel_options__compile_what_python_can_call(decorate):
    @decorate
    def total(values):
        out = 0.0
        for value in values:
            out += value
        return out

    assert total(np.arange(4.0)) == 6.0
    assert total.signatures == [(numba.float64[::1],)]


def test_jitable_functions__are_left_to_python_and_compiled_into_kernels():
    @jit.jitable
    def half(x):
        return x / 2

    @jit.kernel
    def quarter(x):
        return half(half(x))

    assert not isinstance(half, type(quarter))
    assert half(half(5.0)) == quarter(5.0) == 1.25


@pytest.mark.usefixtures("compiles_anew")
def test_leaf_kernels__count_no_references():
    @jit.leaf
    def first(values):
        return values[0]

    first(np.arange(4.0))
    (text,) = first.inspect_llvm().values()
    assert "NRT_incref" not in text.partition("define")[2].partition("cpython")[0]


@pytest.mark.usefixtures("compiles_anew")
def test_inner_kernels__have_no_entry_from_python():
    @jit.inner
    def first(values):
        return values[0]

    @jit.kernel
    def twice(values):
        return 2 * first(values)

    assert twice(np.arange(1.0, 4.0)) == 2.0
    (text,) = first.inspect_llvm().values()
    assert "cpython" not in text


CACHED = """
import pathlib, sys
sys.path.insert(0, {root!r})
from iitdask.kernels import jit
import numba
before = numba.config.CACHE_DIR
@jit.kernel
def double(value):
    return 2 * value
assert numba.config.CACHE_DIR == before
assert double(2.5) == 5.0
directory = jit.cache_directory()
assert list(directory.rglob("*double*.nbc")), list(directory.rglob("*"))
"""


def test_kernel__keeps_its_machine_code_in_the_cache_directory(tmp_path):
    script = tmp_path / "cached.py"
    script.write_text(CACHED.format(root=str(Path(iitdask.__file__).parents[1])))
    run = subprocess.run(
        [sys.executable, str(script)],
        env={"IITDASK_NUMBA_CACHE": str(tmp_path / "cache"), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


KERNEL = """
from iitdask.kernels import jit

@jit.kernel
def double(value):
    return 2 * value
"""


@pytest.fixture
def kernel_of_file(tmp_path, monkeypatch):
    """Define a kernel as another process would: its compiled code is in a folder of the test."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    monkeypatch.setattr(jit, "_DIRECTORY", cache)
    source = tmp_path / "kernels_of_a_test.py"
    source.write_text(KERNEL)

    def define():
        names = {}
        exec(compile(source.read_text(), str(source), "exec"), names)
        return names["double"]

    return define


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


HARMS = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "cut in the digest": lambda path: path.write_bytes(path.read_bytes()[:10]),
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(random.Random(1).randbytes(3000)),
    "flip": flip_bit,
    "folder": replace_by_folder,
    "unreadable": lambda path: path.symlink_to(path.name) if path.unlink() is None else None,
}


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("harm", HARMS)
def test_damaged_files__are_compiled_anew(kernel_of_file, capfd, harm, ending):
    assert kernel_of_file()(2.5) == 5.0
    (path,) = jit.cache_directory().rglob(f"*.{ending}")
    HARMS[harm](path)
    double = kernel_of_file()
    assert double(2.5) == 5.0
    assert double.stats.cache_hits == {}
    assert capfd.readouterr() == ("", "")
    if harm != "folder":  # which stays where it is
        again = kernel_of_file()
        assert again(2.5) == 5.0
        assert sum(again.stats.cache_hits.values()) == 1


def test_a_file__is_on_the_disk_before_it_has_its_name(kernel_of_file, monkeypatch):
    steps = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append("sync"), sync(number)))
    monkeypatch.setattr(Path, "replace", lambda *two: (steps.append("name"), replace(*two)))
    kernel_of_file()(2.5)
    assert steps == ["sync", "name", "sync", "name"]
    jit.mark_family_compiled("toy")
    assert steps[4:] == ["sync", "sync", "sync", "name"]  # two folders, and the mark


def test_a_disk_that_takes_no_file__costs_only_time(kernel_of_file, monkeypatch):
    def is_full(_number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", is_full)
    assert kernel_of_file()(2.5) == 5.0
    jit.mark_family_compiled("toy")
    assert not [path for path in jit.cache_directory().rglob("*") if path.is_file()]


def test_a_family__is_not_compiled_once_files_are_lost_or_cut(kernel_of_file):
    kernel_of_file()(2.5)
    assert not jit.is_family_compiled("toy")
    jit.mark_family_compiled("toy")
    assert jit.is_family_compiled("toy")
    (path,) = jit.cache_directory().rglob("*.nbc")
    path.write_bytes(path.read_bytes()[:-1])
    assert not jit.is_family_compiled("toy")
    kernel_of_file()(2.5)
    jit.mark_family_compiled("toy")
    assert jit.is_family_compiled("toy")
    path.unlink()
    assert not jit.is_family_compiled("toy")
    (jit.cache_directory() / "toy.warm").write_bytes(b"")
    assert not jit.is_family_compiled("toy")


def test_a_family__stays_compiled_when_another_adds_code_to_its_kernels(kernel_of_file):
    kernel_of_file()(2.5)
    jit.mark_family_compiled("toy")
    (index,) = jit.cache_directory().rglob("*.nbi")
    before = index.stat().st_size
    kernel_of_file()(2)
    assert index.stat().st_size > before
    assert jit.is_family_compiled("toy")
    index.write_bytes(index.read_bytes()[: before - 1])
    assert not jit.is_family_compiled("toy")


def test_a_family__is_marked_where_the_system_opens_no_folder(kernel_of_file, monkeypatch):
    def open_file(path, flags, *more, **options):
        if Path(path).is_dir():  # as Windows says
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *more, **options)

    real = os.open
    monkeypatch.setattr(os, "open", open_file)
    kernel_of_file()(2.5)
    jit.mark_family_compiled("toy")
    assert jit.is_family_compiled("toy")


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o770, 0o702, 0o720])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_private_directory__refuses_what_others_can_write_to(tmp_path, monkeypatch, mode, depth):
    monkeypatch.setattr(jit, "_is_group_of_one", lambda _group: False)
    path = tmp_path / "a" / "b" / "c"
    assert jit._private_directory(path) == path
    open_folder = [path, *path.parents][depth]
    open_folder.chmod(mode)
    with pytest.raises(PermissionError, match=f"others can write to '{open_folder}'"):
        jit._private_directory(path)


def test_private_directory__takes_a_folder_below_a_sticky_one(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    path = jit._private_directory(tmp_path / "all" / "mine")
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o1777)
    with pytest.raises(PermissionError, match="others can write"):
        jit._private_directory(path)


def test_private_directory__makes_folders_that_nobody_else_can_write_to(tmp_path):
    before = os.umask(0)
    try:
        path = jit._private_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o700


def test_private_directory__is_where_a_link_points(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert jit._private_directory(tmp_path / "link" / "a") == tmp_path / "real" / "a"
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(PermissionError, match="real"):
        jit._private_directory(tmp_path / "link" / "a")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("depth", [0, 1])
def test_private_directory__refuses_what_belongs_to_others(tmp_path, depth):
    path = jit._private_directory(tmp_path / "a" / "b")
    given_away = [path, *path.parents][depth]
    os.chown(given_away, 65534, -1)
    with pytest.raises(PermissionError, match=f"'{given_away}' belongs to another user"):
        jit._private_directory(path)


UNUSABLE = """
import subprocess, sys
from iitdask.kernels import jit
child = "from iitdask.kernels import jit; print(jit.cache_directory())"
print(subprocess.run([sys.executable, "-c", child], stdout=-1, text=True).stdout.strip())
print(jit.cache_directory())
assert jit.cache_directory().is_dir()
"""


UNUSABLE_CACHES = {
    "file": {"IITDASK_NUMBA_CACHE": "{}/file"},
    "below a file": {"IITDASK_NUMBA_CACHE": "{}/file/below"},
    "below proc": {"IITDASK_NUMBA_CACHE": "/proc/nope"},
    "below an open folder": {"IITDASK_NUMBA_CACHE": "{}/open/folder"},
    "line end": {"IITDASK_NUMBA_CACHE": "line\nend" + "x" * 500},
    "no home": {"HOME": "{}/nobody"},
    "home below proc": {"HOME": "/proc/nope"},
    "caches in a file": {"XDG_CACHE_HOME": "{}/file"},
}


@pytest.mark.parametrize("changes", UNUSABLE_CACHES.values(), ids=UNUSABLE_CACHES)
def test_an_unusable_cache__is_named_once_and_replaced_for_all_processes(tmp_path, changes):
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    temp = tmp_path / "temp"
    temp.mkdir(mode=0o700)
    removed = ("IITDASK_NUMBA_CACHE", "IITDASK_NUMBA_FALLBACK", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    changes = {name: value.format(tmp_path) for name, value in changes.items()}
    paths = {"PYTHONPATH": str(Path(iitdask.__file__).parents[1]), "TMPDIR": str(temp)}
    done = subprocess.run(
        [sys.executable, "-c", UNUSABLE],
        env=environment | paths | changes,
        capture_output=True,
        text=True,
        check=True,
    )
    of_child, own = done.stdout.split()
    assert of_child == own
    assert own.startswith(str(temp))
    assert done.stderr.count("cannot be used") == 1, done.stderr
    assert max(map(len, done.stderr.splitlines())) < 500
    assert list(temp.iterdir()) == []
    assert not (tmp_path / "nobody").exists()


def test_commands__say_in_one_line_that_a_cache_is_unusable(tmp_path):
    (tmp_path / "file").touch()
    path = os.pathsep.join([str(Path(iitdask.__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "iitdask", "run", "missing.yaml"],
        cwd=tmp_path,
        env={**os.environ, "IITDASK_NUMBA_CACHE": "file", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    warning, error = done.stderr.splitlines()
    assert warning.startswith("iitdask: IITDASK_NUMBA_CACHE='file' cannot be used (")
    assert error.startswith("iitdask: missing.yaml")
    assert done.returncode == 2
