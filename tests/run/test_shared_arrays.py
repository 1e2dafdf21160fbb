"""Tables that every process of a machine maps: one copy, held, deleted by the last one."""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import DamagedStoreError
from iitdask.run import shared_arrays, worker
from iitdask.run.shared_arrays import mapped_arrays, release_mapped_arrays

ROOT = Path(__file__).parents[2]
SHAPES = {"one": (300, 700), "two": (0, 3), "three": (15, 40)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_arrays, "PIECE_BYTES", 1000)  # rows of 5600 bytes, and of 320
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path / f"iitdask-tables-{os.getuid()}"
    release_mapped_arrays()


def content(name):
    rows, columns = SHAPES[name]
    return np.arange(float(rows * columns)).reshape(rows, columns) + len(name)


def open_rows():
    return lambda name, rows: content(name)[rows]


def made(key):
    return mapped_arrays(key, SHAPES, open_rows, threads=2)


def refuse():
    raise AssertionError("made again")


def forget(key):
    """Let go of a file as a process that dies does."""
    shared_arrays._MAPPED.pop(key).file.close()
    gc.collect()


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def test_arrays__are_what_was_filled_and_of_each_process_alone(folder):
    arrays = made("a")
    for name in SHAPES:
        np.testing.assert_array_equal(arrays[name], content(name))
    arrays["one"][0, 0] = -1.0  # in this process alone
    assert mapped_arrays("a", SHAPES, refuse, threads=2)["one"][0, 0] == -1.0
    assert other_process(folder) == "3.0 shared"
    release_mapped_arrays()
    assert files(folder) == []
    assert arrays["one"][0, 1] == 4.0  # what is mapped stays


def other_process(folder, kill=False):
    """What another process finds, which makes nothing; it may die without letting go."""
    code = f"""
import os, re, sys, tempfile
tempfile.tempdir = {str(folder.parent)!r}
from tests.run.test_shared_arrays import SHAPES, refuse
from iitdask.run import shared_arrays
shared_arrays.PIECE_BYTES = {shared_arrays.PIECE_BYTES}
arrays = shared_arrays.mapped_arrays("a", SHAPES, refuse, threads=2)
total = arrays["one"].sum()
maps = open("/proc/self/smaps").read().split("iitdask-tables")[1]
private = sum(int(n) for n in re.findall(r"Anonymous: +([0-9]+)", maps.split("VmFlags")[0]))
print(arrays["one"][0, 0], "shared" if private == 0 else "copied", flush=True)
{"os._exit(9)" if kill else ""}
"""
    words = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert found.returncode == (9 if kill else 0), found.stderr
    return found.stdout.strip()


def test_file__that_a_living_process_holds_is_used_others_are_deleted(folder):
    made("a")
    assert other_process(folder, kill=True) == "3.0 shared"
    assert files(folder) == ["a"]  # this process holds it
    forget("a")
    made("b")
    assert files(folder) == ["b"]


def test_file__that_no_living_process_holds_is_made_again(folder):
    made("a")
    forget("a")
    path = folder / "a"
    path.write_bytes(path.read_bytes()[:1000])  # nobody says that it is whole
    with pytest.raises(AssertionError, match="made again"):
        mapped_arrays("a", SHAPES, refuse, threads=2)
    assert files(folder) == []
    np.testing.assert_array_equal(made("a")["one"], content("one"))


def test_folder__that_others_can_write_to_is_not_used(folder):
    folder.mkdir()
    folder.chmod(0o777)
    assert mapped_arrays("a", SHAPES, refuse, threads=2) is None
    assert files(folder) == []


def test_error__while_a_file_is_filled_leaves_none(folder):
    def fails():
        raise DamagedStoreError("a block is not what was written")

    with pytest.raises(DamagedStoreError, match="a block"):
        mapped_arrays("a", SHAPES, fails, threads=2)
    assert files(folder) == []


def test_structure__from_mapped_tables_is_the_same(folder, tmp_path, monkeypatch):
    system = iit.examples.load("grid3"), iit.examples.state("grid3")
    alone = iit.ces(*system)
    monkeypatch.setattr(worker, "MIN_MAPPED_BYTES", 0)
    keys = []
    monkeypatch.setattr(worker, "mapped_arrays", lambda *a: keys.append(a[0]) or mapped_arrays(*a))
    found = iit.ces(*system, store=tmp_path / "a.zarr")
    assert len(set(keys)) == 1  # mechanisms, details and repertoires have the same
    assert files(folder) == []  # at the end of the run
    for node in ("distinctions", "relations"):
        xr.testing.assert_identical(
            found[node].to_dataset(inherit=False).drop_attrs(),
            alone[node].to_dataset(inherit=False).drop_attrs(),
        )
