import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_recipe import by_cells, first_stage

from iitdask.model import examples
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.run import plan
from iitdask.run.plan import (
    MAX_STAGE_BLOCKS,
    PROCESS_BYTES,
    Calibration,
    Tiling,
    bundles_to_keep,
    calibrate,
    plan_bundles,
    stage_memory,
    tile,
)
from iitdask.theory.iit4.mechanisms import mice_stage
from iitdask.theory.stage import Grid, Stage, Variable


def stage(shape, cost, *, unsplit=(), power_of_two=(), dtype="float64", until=None):
    dims = tuple(f"axis{i}" for i in range(len(shape)))
    return Stage(
        name="any",
        grid=Grid(dims, shape, unsplit, power_of_two),
        variables=(Variable("x", dtype, 0, "", ""),),
        compute=dict,
        cost=cost,
        until=until,
    )


def even(total, shape):
    cells = math.prod(shape)
    return lambda region: total * math.prod(p.stop - p.start for p in region) / cells


def skewed(region):
    return math.prod(float(p.stop**3 - p.start**3) for p in region) / 1e5


@st.composite
def stages(draw):
    shape = tuple(draw(st.lists(st.integers(0, 40), max_size=3)))
    dims = [f"axis{i}" for i in range(len(shape))]
    whole = tuple(draw(st.lists(st.sampled_from(dims), unique=True))) if dims else ()
    two = tuple(draw(st.lists(st.sampled_from(dims), unique=True))) if dims else ()
    total = draw(st.sampled_from([0.0, 0.1, 3.0, 1e4]))
    cost = draw(st.sampled_from([skewed, even(total, shape) if math.prod(shape) else skewed]))
    return stage(shape, cost, unsplit=whole, power_of_two=two)


lengths = st.sampled_from([0.001, 0.5, 30.0])


@settings(max_examples=150, deadline=None)
@given(stages(), lengths)
def test_tile__partitions_the_grid(some, seconds):
    tiling = tile(some, seconds)
    seen = np.zeros(some.grid.shape, int)
    for block in tiling:
        seen[tiling.region(block)] += 1
    assert (seen == 1).all()
    assert len(list(tiling)) == len(tiling) <= MAX_STAGE_BLOCKS
    assert list(tiling) == sorted(tiling)


@settings(max_examples=100, deadline=None)
@given(stages(), lengths)
def test_tile__respects_axes_and_repeats_itself(some, seconds):
    tiling = tile(some, seconds)
    for dim, n, chunk in zip(some.grid.dims, some.grid.shape, tiling.chunks, strict=True):
        assert chunk == max(n, 1) or dim not in some.grid.unsplit
        assert chunk == max(n, 1) or chunk & (chunk - 1) == 0
    assert tile(some, seconds) == tiling


@settings(max_examples=100, deadline=None)
@given(stages(), lengths, st.integers(0, 5), st.sampled_from([0.01, 1.0, 7.0]))
def test_plan__bundles_every_missing_block_once_dearest_first(some, seconds, skip, rate):
    tiling = tile(some, seconds)
    done = set(list(tiling)[:skip])
    bundles = plan_bundles(some, tiling, done, rate, seconds)
    planned = [block for bundle in bundles for block in bundle]
    costs = [some.cost(tiling.region(block)) for block in planned]
    assert sorted(planned) == sorted(set(tiling) - done)
    assert costs == sorted(costs, reverse=True)


def test_tile__cuts_some_axes_first():
    """A second row that costs nine times the first makes columns the better cut."""
    rows = (0.1, 0.9)
    whole = stage((2, 8), lambda region: sum(rows[region[0]]) * (region[1].stop - region[1].start))
    assert tile(replace(whole, min_blocks=2), 30.0).chunks == (2, 4)
    assert tile(replace(whole, min_blocks=2, cut_first=("axis0",)), 30.0).chunks == (1, 4)


@pytest.mark.parametrize(("n", "blocks"), [(11, 32), (12, 128), (13, 256)])
def test_mechanisms_of_12_and_13_units__are_cut_by_the_64(n, blocks):
    noisy = np.full((2, 2, 2), 0.5)
    units = [([i, (i + 1) % n], noisy) for i in range(n)]
    substrate = Substrate.from_factors(units, connectivity="inferred")
    tiling = tile(mice_stage(System.build(substrate, "0" * n)), 30.0)
    assert (len(tiling), tiling.chunks[1]) == (blocks, 64)


def test_plan__keeps_grid_order_when_the_stage_stops_early():
    some = stage((64,), skewed, until=bool)
    tiling = tile(some, 0.05)
    planned = [b for bundle in plan_bundles(some, tiling, set(), 1.0, 0.1) for b in bundle]
    assert planned == list(tiling)


@pytest.mark.parametrize(
    ("total", "seconds", "blocks"),
    [(0.1, 5.0, 1), (0.3, 5.0, 8), (1.0, 5.0, 16), (64.0, 5.0, 16), (1000.0, 5.0, 256)],
)
def test_tile__makes_blocks_of_the_wished_length_but_enough_to_spread(total, seconds, blocks):
    shape = (2, 1024)
    assert len(tile(stage(shape, even(total, shape)), seconds)) == blocks


def test_tile__never_makes_more_blocks_than_the_file_system_bears():
    shape = (4096, 4096)
    assert 10_000 < len(tile(stage(shape, even(1e9, shape)), 1.0)) <= MAX_STAGE_BLOCKS


def test_tile__does_not_split_in_vain_when_one_cell_is_the_whole_cost():
    lone = stage((1024,), lambda region: 50.0 if region[0].start == 0 else 0.0)
    assert len(tile(lone, 1.0)) == 1


def test_tile__splits_a_stage_too_large_for_one_chunk_even_if_it_costs_nothing():
    assert len(tile(stage((2**26,), lambda _: 0.0), 5.0)) == 16


def test_plan__keeps_enough_bundles_for_workers_to_end_together():
    shape = (1024,)
    some = stage(shape, even(10.0, shape))
    tiling = Tiling(some.grid, (1,))
    alike = plan_bundles(some, tiling, set(), 1.0, 5.0, are_shrinking=False)
    assert 30 <= len(alike) <= 40
    assert len({len(bundle) for bundle in alike[:-1]}) == 1
    bundles = plan_bundles(some, tiling, set(), 1.0, 5.0)
    assert len(alike) < len(bundles) <= 4 * len(alike)
    lengths = [len(bundle) for bundle in bundles[:-1]]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == len(alike[0])
    assert lengths[-1] <= lengths[0] // 7
    left = 1024
    for length in lengths[:-20]:  # a share of what is left, or a bundle as short as they get
        assert length <= max(left / 32, lengths[-1]) + 1
        left -= length
    assert len(plan_bundles(some, tiling, set(), 100.0, 5.0)) >= 200


@pytest.mark.parametrize(
    ("threads", "bundles"), [(0, 32), (1, 4), (2, 4), (8, 16), (16, 32), (17, 34), (1000, 2000)]
)
def test_plan__keeps_bundles_for_every_thread(threads, bundles):
    assert bundles_to_keep(threads) == bundles


def test_plan__makes_few_bundles_for_few_threads_whose_last_ones_are_as_short():
    shape = (1024,)
    some = stage(shape, even(100.0, shape))
    tiling = Tiling(some.grid, (1,))
    many, few = (
        [len(b) for b in plan_bundles(some, tiling, set(), 1.0, 99.0, min_bundles=least)][:-1]
        for least in (bundles_to_keep(16), bundles_to_keep(2))
    )
    assert sum(few) + 4 > 1024 - few[-1]
    assert few == sorted(few, reverse=True)
    assert 3 * len(few) - 3 < len(many)
    assert 1024 // 4 - 8 < few[0] <= 1024 // 4
    assert few[-1] <= many[-1]


def test_plan__bundles_blocks_that_cost_nothing():
    some = stage((4096,), lambda _: 0.0)
    bundles = plan_bundles(some, Tiling(some.grid, (1,)), set(), 1.0, 5.0)
    assert sum(len(bundle) for bundle in bundles) == 4096
    assert len(bundles) < 128


def test_fit__is_the_ratio_of_sums_and_ignores_blocks_that_cost_nothing():
    some = stage((4,), lambda region: float(region[0].start))
    measured = calibrate(some, Tiling(some.grid, (1,)), {(0,): 9.0, (1,): 2.0, (3,): 6.0})
    assert measured == Calibration(8.0, 4.0)
    assert measured.updated(2.0, 1.0).seconds_per_cost == 2.0
    assert Calibration().seconds_per_cost == 1.0


def test_block_bytes__counts_inputs_outputs_and_scratch():
    tiling = Tiling(first_stage().grid, (1, 16))
    found = stage_memory(first_stage(), tiling, {"given": 100}, is_stored=True)
    # A block beside its compressed copy.
    assert found == (0, 100, 2 * 16 * (8 + 24 + 1))
    assert found.process(3) - found.process(1) == 2 * found.block
    assert found.process() == PROCESS_BYTES + 100 + found.block
    assert by_cells(tiling.region((0, 0))) == pytest.approx(0.032)


def test_shared_tables__are_counted_apart_where_processes_map_them(monkeypatch):
    system = System.build(examples.load("basic"), "100")
    searched = mice_stage(system)
    tiling = Tiling(searched.grid, (2, 8))
    inputs = {"levels": 24, "state": 24, "children": 24, "marginals": 1296}
    tables = 4 * 3 * 3**3 * 8  # two columns of effects, causes and their logarithms, of each unit
    small = stage_memory(searched, tiling, inputs, is_stored=True)
    assert (small.shared, small.own) == (0, sum(inputs.values()) + tables)
    monkeypatch.setattr(plan, "MIN_MAPPED_BYTES", 0)
    mapped = stage_memory(searched, tiling, inputs, is_stored=True)
    # The marginals have gone when the tables are mapped.
    assert (mapped.shared, mapped.own) == (tables, 3 * 24)
    larger = stage_memory(searched, tiling, inputs | {"marginals": 3000}, is_stored=True)
    assert larger.own == 3 * 24 + 3000 - tables
    alone = stage_memory(searched, tiling, inputs, is_stored=False)
    assert alone == small
