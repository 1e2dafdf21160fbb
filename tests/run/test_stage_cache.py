import shutil
import time
from pathlib import Path

import pytest
import toy_recipe as toys
import xarray as xr

from iitdask.errors import InputError
from iitdask.run import zarr_ledger
from iitdask.run.coordination import live_sessions, open_session
from iitdask.run.engines import SerialEngine
from iitdask.run.events import BlocksFilled
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.zarr_io import read_attrs
from iitdask.run.zarr_ledger import StageCache, ZarrLedger, _delete_entry, list_entries


def run(tmp_path, name, scale=1.0, budget=10**9, engine=None):
    events = []
    with StageCache(str(tmp_path / "cache"), ("squares",), budget).opened() as cache:
        ledger = ZarrLedger(open_store(tmp_path / name), cache=cache)
        tree = execute(
            toys.toy(scale=scale), ledger, engine or SerialEngine(), observers=[events.append]
        )
    done = [e.stage for e in events if isinstance(e, BlocksFilled)]
    return tree, done


def test_stage_cache__keeps_a_stage_for_other_studies(tmp_path, engine):
    expected = execute(toys.toy(), MemoryLedger(), SerialEngine())
    tree, done = run(tmp_path, "a.zarr", engine=engine)
    xr.testing.assert_identical(tree, expected)
    assert set(done) == {"squares", "pairs"}
    assert not (tmp_path / "a.zarr/work/squares").exists()
    tree, done = run(tmp_path, "b.zarr", engine=engine)
    xr.testing.assert_identical(tree, expected)
    assert set(done) == {"pairs"}
    (entry,) = list_entries(str(tmp_path / "cache"))
    assert (entry.stage, entry.blocks, entry.done, entry.in_use) == (
        "squares",
        entry.done,
        entry.blocks,
        False,
    )


def test_stage_cache__tells_inputs_apart(tmp_path):
    run(tmp_path, "a.zarr")
    _, done = run(tmp_path, "b.zarr", scale=2.0)
    assert "squares" in done
    assert len(list_entries(str(tmp_path / "cache"))) == 2


def test_stage_cache__mends_a_damaged_entry(tmp_path):
    expected, _ = run(tmp_path, "a.zarr")
    next((tmp_path / "cache").glob("*/work/squares/value/c.*")).write_bytes(b"x")
    tree, done = run(tmp_path, "b.zarr")
    xr.testing.assert_identical(tree, expected)
    assert "squares" in done


def test_stage_cache__drops_the_least_recently_used(tmp_path):
    for scale in (1.0, 2.0):
        run(tmp_path, f"{scale}.zarr", scale)
        time.sleep(0.02)
    run(tmp_path, "again.zarr", 1.0)
    kept = {entry.path.name for entry in list_entries(str(tmp_path / "cache"))}
    run(
        tmp_path,
        "3.0.zarr",
        3.0,
        budget=max(entry.nbytes for entry in list_entries(str(tmp_path / "cache"))) * 2,
    )
    left = {entry.path.name for entry in list_entries(str(tmp_path / "cache"))}
    assert len(kept & left) == 1
    shutil.rmtree(tmp_path / "again.zarr")
    _, done = run(tmp_path, "again.zarr", 1.0)
    assert "squares" not in done


def test_stage_cache__deletes_no_entry_that_another_process_opens(tmp_path, monkeypatch):
    """Another process opens an entry after it was seen idle, and before it is deleted."""
    run(tmp_path, "a.zarr")
    (entry,) = list_entries(str(tmp_path / "cache"))
    assert not entry.in_use
    with open_session(open_store(entry.path), join=True):
        assert not _delete_entry(entry.path)
    assert entry.path.exists()


def test_stage_cache__makes_an_entry_anew_that_is_deleted_while_it_opens_it(tmp_path, monkeypatch):
    """Another process has seen no session, and deletes the entry before there is one."""
    run(tmp_path, "a.zarr")
    (entry,) = list_entries(str(tmp_path / "cache"))
    opened = zarr_ledger.open_session

    def delete_and_open(store, join=False):
        monkeypatch.setattr(zarr_ledger, "open_session", opened)
        assert _delete_entry(entry.path)
        return opened(store, join)

    ledger = zarr_ledger.StageCache(str(tmp_path / "cache"), ("squares",))
    monkeypatch.setattr(zarr_ledger, "open_session", delete_and_open)
    with ledger.opened():
        store = ledger.entry_store("squares", entry.path.name.removeprefix("squares-"))
        assert read_attrs(store)["format"] == 2
        assert live_sessions(store)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [entry.path.name]


def test_cache_entries__overlook_files_that_another_process_moves(tmp_path, monkeypatch):
    run(tmp_path, "a.zarr")
    (entry,) = list_entries(str(tmp_path / "cache"))
    for name in ("before.partial", "after.partial"):
        (entry.path / name).write_bytes(b"half")
    stat = Path.stat

    def move_and_stat(path, **more):
        if path.name == "before.partial":
            path.unlink(missing_ok=True)
        answer = stat(path, **more)
        if path.name == "after.partial":
            path.unlink()
        return answer

    monkeypatch.setattr(Path, "stat", move_and_stat)
    (again,) = list_entries(str(tmp_path / "cache"))
    assert again.nbytes == entry.nbytes + len(b"half")
    assert list(entry.path.glob("*.partial")) == []


def test_cache_entries__wants_a_directory(tmp_path):
    with pytest.raises(InputError, match="expected a directory"):
        list_entries(str(tmp_path / "nowhere"))
