"""Directories as stores: what is deleted in them, and what is not."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iitdask.run import storage
from iitdask.run.storage import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "run.zarr")


def names(path):
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


def test_delete_groups__leaves_what_is_no_part_of_a_group(store, tmp_path):
    for key in ("one/zarr.json", "one/x/c.0.0", "one/x/c", "one/old/c/0/1", "one/y/c.0.h.partial"):
        store.write(key, b"x")
    for key in ("one/notes.txt", "one/x/c.0.txt", "one/mine/zarr.json.bak"):
        store.write(key, b"mine")
    store.delete_groups("one")
    store.delete_groups("missing")
    kept = ["one", "one/mine", "one/mine/zarr.json.bak", "one/notes.txt", "one/x", "one/x/c.0.txt"]
    assert names(tmp_path / "run.zarr") == kept


def test_delete_groups__empties_a_linked_folder_and_leaves_the_link(store, tmp_path):
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run.zarr/work").symlink_to(tmp_path / "elsewhere")
    store.write("work/x/c.0", b"x")
    store.delete_groups("work")
    assert names(tmp_path / "elsewhere") == []
    assert (tmp_path / "run.zarr/work").is_symlink()


def temp_of(store, key, pid, host=None):
    """Write what a process leaves when it is killed while it writes a key."""
    host = host or storage._host()
    store.write(f"{key}.{host}-{pid}.0123abc.partial", b"half")
    return store.directory / f"{key}.{host}-{pid}.0123abc.partial"


def test_delete_abandoned_temp__spares_what_a_living_process_writes(store):
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    dead = [temp_of(store, key, ended.pid) for key in ("zarr.json", "work/a/x/c.0.0", "log/x")]
    living = temp_of(store, "work/a/x/c.0.1", os.getpid())
    store.delete_abandoned_temp(is_alone=True)
    assert not any(path.exists() for path in dead)
    assert living.exists()


def test_delete_abandoned_temp__knows_a_number_that_was_given_again(store):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = temp_of(store, "work/a/x/c.0.0", process.pid)
    os.utime(left, (time.time() - 3600,) * 2)  # written long before that process began
    store.delete_abandoned_temp(is_alone=True)
    process.communicate(b"\n")
    assert not left.exists()


@pytest.mark.parametrize("host", ["elsewhere", f"{socket.gethostname()}-b"])
def test_delete_abandoned_temp__judges_another_machine_by_age_and_alone(store, host):
    old, new = temp_of(store, "x/c.0", 7, host), temp_of(store, "x/c.1", 7, host)
    os.utime(old, (time.time() - 3600,) * 2)
    store.delete_abandoned_temp(is_alone=False)
    assert old.exists()
    store.delete_abandoned_temp(is_alone=True)
    assert not old.exists()
    assert new.exists()


def test_write__names_its_temporary_file_after_its_process(store, monkeypatch):
    moved = []
    monkeypatch.setattr(os, "replace", lambda temp, _path: moved.append(temp))
    store.write("x/c.0", b"x")
    assert Path(moved[0]).name.startswith(f"c.0.{storage._host()}-{os.getpid()}.")
