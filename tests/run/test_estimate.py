import dataclasses
import time

import pytest
import toy_recipe as toys
import xarray as xr

from iitdask.run import estimate
from iitdask.run.engines import SerialEngine
from iitdask.run.estimate import estimate_recipe
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.theory.stage import gather, scoped


def test_estimate__counts_blocks_exactly_where_all_is_known(monkeypatch):
    monkeypatch.setattr(estimate, "FULL_STAGE_SECONDS", 100.0)
    found = estimate_recipe(toys.toy(), block_seconds=0.5)
    ledger = MemoryLedger()
    execute(toys.toy(), ledger, SerialEngine(), block_seconds=0.5)
    blocks = {name: len(ledger.done(name)) for name in ("squares", "pairs")}
    assert {each.name: each.blocks for each in found.stages} == blocks
    assert found.complete
    assert found.low < found.core_seconds < found.high
    assert found.bytes_per_worker > 0
    assert found.store_bytes > 2 * 64 * 8


def test_estimate__samples_what_is_dear(monkeypatch):
    monkeypatch.setattr(estimate, "FULL_STAGE_SECONDS", 0.0)
    found = estimate_recipe(toys.toy(toys.slow_squares), block_seconds=0.5, seconds=0.2)
    assert found.stages[0].basis == "sampled"
    assert found.stages[0].max_block_seconds > 0


def test_estimate__takes_the_model_at_its_word_when_nothing_may_be_spent(monkeypatch):
    monkeypatch.setattr(estimate, "FULL_STAGE_SECONDS", 0.0)
    found = estimate_recipe(toys.toy(), block_seconds=0.5, seconds=0.0)
    first = found.stages[0]
    assert first.basis == "model"
    assert first.seconds == pytest.approx(2 * 0.01 * sum(c.bit_count() for c in range(64)))


def test_estimate__wall_time_falls_with_workers_down_to_the_dearest_block():
    found = estimate_recipe(toys.toy(), block_seconds=0.5)
    walls = [found.wall_seconds(k) for k in (1, 2, 4, 10**6)]
    assert walls == sorted(walls, reverse=True)
    assert walls[-1] >= max(each.max_block_seconds for each in found.stages)


def test_estimate__is_frozen():
    found = estimate_recipe(toys.toy())
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.stages = ()


def test_estimate__counts_what_the_recipe_does_between_its_stages():
    def slow():
        time.sleep(0.05)
        tree = yield from toys.toy()
        return tree

    found = estimate_recipe(slow())
    assert found.overhead_seconds >= 0.05
    assert found.core_seconds >= 0.05
    assert found.wall_seconds(1000) >= 0.05
    assert found.process_bytes > 20_000_000


def test_estimate__of_points_that_stand_for_others_is_so_many_times_theirs(monkeypatch):
    for limit in ("FULL_STAGE_SECONDS", "POINT_STAGE_SECONDS"):
        monkeypatch.setattr(estimate, limit, 1000.0)

    def points(count):
        recipes = {key: scoped(f"points/{key}", toys.toy()) for key in range(count)}
        yield from gather(recipes)
        return xr.DataTree()

    every = estimate_recipe(points(4), block_seconds=0.5)
    found = estimate_recipe(points(2), block_seconds=0.5, points=2.0)
    assert [each.name for each in found.stages] == ["points/squares", "points/pairs"]
    assert found.blocks == every.blocks
    assert found.store_bytes == every.store_bytes
    assert found.low < found.core_seconds < found.high


def test_estimate__computes_each_part_of_a_stage_once(monkeypatch):
    monkeypatch.setattr(estimate, "FULL_STAGE_SECONDS", 0.0)
    regions = []

    def counted(prepared, region):
        regions.append(region)
        return toys.squares(prepared, region)

    stage = dataclasses.replace(toys.first_stage(counted), is_shared_in_block=True)

    def recipe():
        yield (stage,)
        return xr.DataTree()

    found = estimate_recipe(recipe(), block_seconds=1e6, seconds=100.0)
    assert found.stages[0].basis == "sampled"
    sampled = regions[1:]  # the first may compile
    assert len(sampled) == len({str(region) for region in sampled}) > estimate.MIN_SAMPLES
