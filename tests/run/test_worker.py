"""What one process keeps for the stages to come."""

from dataclasses import replace

import numpy as np
import pytest
import toy_recipe as toys

from iitdask.run import worker
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.storage import open_store
from iitdask.run.task import BundleTask, VariableRef
from iitdask.run.zarr_ledger import ZarrLedger


@pytest.fixture
def ledger(tmp_path):
    ledger = ZarrLedger(open_store(tmp_path / "run.zarr"))
    execute(toys.toy(), ledger, SerialEngine())
    yield ledger
    worker.clear_caches()


@pytest.fixture
def reads(monkeypatch):
    """What is read of earlier stages."""
    seen, read = [], worker.read_stage_variable

    def watched(folder, stored):
        seen.append((folder.layout.lineage, stored))
        return read(folder, stored)

    monkeypatch.setattr(worker, "read_stage_variable", watched)
    return seen


def filled(ledger, name, weight=0.5):
    """Run the first block of a stage that reads what `squares` left."""
    stage = toys.renamed(toys.second_stage(4, weight=weight), name)
    tiling = ledger.open(stage, 5.0)
    block = next(iter(tiling))
    ledger.delete_blocks(name, [block])
    receipt = worker.run_bundle(BundleTask(ledger.worker_context(stage), (block,)))
    assert not receipt.failed
    return ledger.read_block(name, block)["product"]


def test_inputs__are_read_once_for_several_stages(ledger, reads):
    one, two = filled(ledger, "one"), filled(ledger, "two", weight=1.0)
    assert len(reads) == 1
    np.testing.assert_array_equal(two, 2 * one)
    worker.clear_caches()
    np.testing.assert_array_equal(filled(ledger, "three"), one)
    assert len(reads) == 2


def test_inputs__of_a_stage_planned_afresh_are_read_anew(ledger, reads):
    before = filled(ledger, "one")
    execute(toys.toy(version=2, scale=2.0), ledger, SerialEngine())
    reads.clear()
    after = filled(ledger, "two")
    assert len(reads) == 1
    assert not np.array_equal(before, after)


def test_inputs__that_are_large_are_not_kept(ledger, reads, monkeypatch):
    monkeypatch.setattr(worker, "ARRAY_CACHE_BYTES", 100)
    filled(ledger, "one")
    filled(ledger, "two")
    assert len(reads) == 2


def test_inputs__of_several_stages_are_kept_as_far_as_there_is_room(ledger, reads, monkeypatch):
    stored = toys.second_stage(4).inputs["value"]
    size = ledger.input_bytes(stored)
    monkeypatch.setattr(worker, "ARRAY_CACHE_BYTES", size + size // 2)
    other = replace(toys.first_stage(), name="others")
    ledger.open(other, 5.0)
    execute(iter_of(other), ledger, SerialEngine())
    worker.clear_caches()
    reads.clear()
    for name in ("squares", "others", "others", "squares"):
        worker._read_variable(VariableRef(ledger.store, replace(stored, stage=name)))
    assert [each.stage for _, each in reads] == ["squares", "others", "squares"]


def iter_of(stage):
    yield (stage,)
