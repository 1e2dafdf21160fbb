"""Stages that only later stages read: listed by the driver, verified by whoever reads them."""

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import toy_recipe as toys
import xarray as xr

import iitdask as iit
from iitdask.errors import InterruptedRunError
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.events import BlocksFilled, StageOpened
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.stage_group import StageGroup
from iitdask.run.storage import DirectoryStore, open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.study.problem import read_problem
from iitdask.study.run import run_job, verify_stored_run


def unread():
    """A recipe of two stages that looks at the second one only."""
    ((nothing,), (filled,)) = (
        (yield (replace(toys.first_stage(), is_read_by_recipe=False),)),
        (yield (toys.second_stage(8),)),
    )
    assert not nothing
    return xr.DataTree.from_dict({"/": xr.Dataset(filled)})


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def chunks(folder, stage, variable):
    return sorted(folder.glob(f"work/{stage}/{variable}/c*"))


def filled_blocks(events, stage):
    return sum(e.blocks for e in events if isinstance(e, BlocksFilled) and e.stage == stage)


@pytest.fixture(params=["inline", "threads of a cluster"])
def engine(request):
    if request.param == "inline":
        return SerialEngine()
    return DaskEngine(request.getfixturevalue("client"))


def test_unread_stage__of_a_full_ledger_is_not_read(tmp_path, monkeypatch):
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    first = execute(unread(), ledger, SerialEngine(), block_seconds=0.05)
    read, events = [], []
    for name in ("read", "read_all", "read_part"):
        original = getattr(StageGroup, name)

        def noted(self, *args, original=original, **more):
            read.append(self.layout.name)
            return original(self, *args, **more)

        monkeypatch.setattr(StageGroup, name, noted)
    again = execute(unread(), ledger, SerialEngine(), observers=[events.append])
    assert set(read) == {"pairs"}
    assert filled_blocks(events, "squares") == filled_blocks(events, "pairs") == 0
    xr.testing.assert_identical(again, first)


def test_unread_stage__damaged_is_filled_again_in_the_run_that_reads_it(tmp_path, engine):
    folder = tmp_path / "run.zarr"

    def stop(event):
        if isinstance(event, StageOpened) and event.stage == "pairs":
            raise InterruptedRunError("enough")

    with pytest.raises(InterruptedRunError, match="enough"):
        execute(
            unread(),
            ZarrLedger(open_store(folder)),
            SerialEngine(),
            block_seconds=0.05,
            observers=[stop],
        )
    harmed = chunks(folder, "squares", "value")
    assert len(harmed) > 4
    flip_bit(harmed[1])
    harmed[3].unlink()
    events = []
    tree = execute(unread(), ZarrLedger(open_store(folder)), engine, observers=[events.append])
    xr.testing.assert_identical(tree, execute(unread(), MemoryLedger(), SerialEngine()))
    assert filled_blocks(events, "squares") == 2


def test_tables__of_a_damaged_stage_are_made_of_what_is_filled_again(tmp_path):
    folder, system = (
        tmp_path / "run.zarr",
        (iit.examples.load("grid3"), iit.examples.state("grid3")),
    )
    expected = iit.ces(*system, store=folder)
    shutil.rmtree(folder / "work/mice")
    (chunk, *_) = chunks(folder, "marginals", "probability")
    intact = chunk.read_bytes()
    flip_bit(chunk)
    xr.testing.assert_identical(iit.ces(*system, store=folder), expected)
    assert chunk.read_bytes() == intact


def test_verification__lets_a_run_mend_what_it_does_not_read(tmp_path):
    folder, system = (
        tmp_path / "run.zarr",
        (iit.examples.load("grid3"), iit.examples.state("grid3")),
    )
    expected = iit.ces(*system, store=folder)
    flip_bit(chunks(folder, "marginals", "probability")[0])
    xr.testing.assert_identical(iit.ces(*system, store=folder), expected)
    (problem,) = verify_stored_run(folder).problems
    assert "stage 'marginals', 1 block(s) are not what was written" in problem
    xr.testing.assert_identical(iit.ces(*system, store=folder), expected)
    assert verify_stored_run(folder).problems == ()


@pytest.fixture
def keys_read(monkeypatch):
    """Keys that are read from directories."""
    keys, read = [], DirectoryStore.read
    monkeypatch.setattr(DirectoryStore, "read", lambda s, key: keys.append(key) or read(s, key))
    return keys


def blocks_read(keys):
    return [key for key in keys if key.startswith("work/") and not key.endswith("zarr.json")]


def test_finished_run__is_opened_by_listing_its_blocks(tmp_path, keys_read):
    folder, system = tmp_path / "run.zarr", iit.examples.load("grid3")
    state, events = iit.examples.state("grid3"), []
    expected = iit.ces(system, state, store=folder)
    assert blocks_read(keys_read)
    keys_read.clear()
    again = iit.ces(system, state, store=folder)
    xr.testing.assert_identical(again, expected)
    assert any(key.startswith("result/") for key in keys_read)
    assert blocks_read(keys_read) == []
    (tick, *_) = chunks(folder, "mice", "tick")
    tick.unlink()
    problem = read_problem(open_store(folder))
    again = run_job(problem, store=folder, observers=[events.append])
    xr.testing.assert_identical(again, expected)
    assert filled_blocks(events, "mice") == 1
    assert sum(e.blocks for e in events if isinstance(e, BlocksFilled)) == 1


def test_finished_run__is_replayed_for_other_labels_or_another_iitdask(
    tmp_path, keys_read, monkeypatch
):
    folder, state = tmp_path / "run.zarr", iit.examples.state("grid3")
    system = iit.examples.load("grid3")
    iit.ces(system, state, store=folder)
    renamed = replace(system, labels=("X", "Y", "Z"))
    keys_read.clear()
    labels = iit.ces(renamed, state, store=folder)["distinctions"]["mechanism"]
    assert "XY" in labels.values.tolist()
    assert blocks_read(keys_read)
    keys_read.clear()
    iit.ces(renamed, state, store=folder)
    assert not blocks_read(keys_read)
    monkeypatch.setattr("iitdask.study.run.build_id", lambda: "another")
    iit.ces(renamed, state, store=folder)
    assert blocks_read(keys_read)


def test_finished_run__writes_a_damaged_result_anew(tmp_path, keys_read):
    folder, system = (
        tmp_path / "run.zarr",
        (
            iit.examples.load("grid3"),
            iit.examples.state("grid3"),
        ),
    )
    expected = iit.ces(*system, store=folder)
    harmed = next(path for path in sorted(folder.glob("result/**/phi/c*")) if path.is_file())
    intact = harmed.read_bytes()
    flip_bit(harmed)
    keys_read.clear()
    xr.testing.assert_identical(iit.ces(*system, store=folder), expected)
    assert blocks_read(keys_read)
    assert harmed.read_bytes() == intact


def test_memory__holds_an_unread_stage_once(monkeypatch):
    ledger, copied = MemoryLedger(), []
    read = MemoryLedger.read_stage
    monkeypatch.setattr(
        MemoryLedger,
        "read_stage",
        lambda self, name, *more: copied.append(name) or read(self, name, *more),
    )
    execute(unread(), ledger, SerialEngine())
    assert copied == ["pairs"]
    assert np.isfinite(ledger.read_block("squares", (0, 0))["value"]).all()


def test_cluster__blocks_are_read_while_others_are_computed(tmp_path, client, monkeypatch):
    read, lasting = [], StageGroup.read

    def noted(self, block):
        read.append(threading.current_thread().name.split("_")[0])
        return lasting(self, block)

    monkeypatch.setattr(StageGroup, "read", noted)
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    tree = execute(toys.toy(), ledger, DaskEngine(client), block_seconds=0.05)
    xr.testing.assert_identical(tree, execute(toys.toy(), MemoryLedger(), SerialEngine()))
    assert read.count("reader") > 16


def test_cluster__blocks_that_are_damaged_when_they_are_read_are_filled_again(
    tmp_path, client, monkeypatch
):
    harmed, folder = [], tmp_path / "run.zarr"
    commit = StageGroup.write

    def harm(self, block, arrays, seconds):
        commit(self, block, arrays, seconds)
        if self.layout.name == "squares" and len(harmed) < 2:
            harmed.append(block)
            flip_bit(folder / self._key(self.layout.variables[0], block))

    monkeypatch.setattr(StageGroup, "write", harm)
    events = []
    ledger = ZarrLedger(open_store(folder))
    tree = execute(
        toys.toy(), ledger, DaskEngine(client), block_seconds=0.05, observers=[events.append]
    )
    xr.testing.assert_identical(tree, execute(toys.toy(), MemoryLedger(), SerialEngine()))
    assert filled_blocks(events, "squares") == len(ledger.tiling("squares")) + 2
