"""Stages that search all partitions of a system: at every specified state, or ratio by ratio.

mathematics.md 21. From 14 units on there is one stage per ratio of the search, its source sets
split into blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    set_partition_minima,
    source_minima,
    starting_partition,
)
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    minimum_partition,
    optimal_partitions,
)
from iitdask.theory.iit4.system_bipartitions import minimum_bipartition
from iitdask.theory.stage import Array, Filled, Grid, Region, Stage, StageRef, Steps, Variable
from iitdask.theory.variables import variable

SPLIT_MIN_UNITS = 14  # Units from which source sets are split into blocks, and ratios into stages
SECONDS_PER_SUBSET = 6e-9  # Of a source set, at one ratio
SECONDS_PER_PARTITION = 0.03e-9  # Times 3 to the power of its units
SECONDS_PER_BIPARTITION = 2e-7  # of a unit
MINIMUM_FIELDS = ("cost", "pairs", "ways", "key")  # Fields of DirectionMinima that stages fill


def minimum_variables(n: int, inner: tuple[tuple[str, int], ...] = ()) -> tuple[Variable, ...]:
    """Variables of the minimum partitions of n units, see MINIMUM_FIELDS."""
    return (
        variable("cost", "float64", np.nan, inner),
        variable("pairs", "int64", 0, inner),
        variable("ways", "float64", 0.0, inner),
        variable("key", "uint64", 0, (*inner, ("word", (n * n + 63) // 64))),
    )


def search_partitions(
    costs: Array, zero: Array, *, only_bipartitions: bool = False
) -> Steps[dict[str, Array]]:
    """Search all partitions at every specified state; costs: (m, n, 2**n), zero: (m,)."""
    if only_bipartitions or costs.shape[1] < SPLIT_MIN_UNITS:
        return (yield from _one_stage(costs, zero, only_bipartitions))
    return (yield from _dinkelbach_stages(costs, zero))


def _minimum_stage(name: str, n: int, rows: int, **fields: Any) -> Stage:
    """Declare a stage whose cells are specified states, filled with their minimum partition."""
    return Stage(
        name=name,
        grid=Grid(("candidate",), (rows,)),
        variables=minimum_variables(n),
        **{"scratch": 400 * 2**n, **fields},
    )


def _one_stage(costs: Array, zero: Array, only_bipartitions: bool) -> Steps[dict[str, Array]]:
    """Search the partitions of every specified state in one stage."""
    rows, n, _ = costs.shape
    seconds = 2 * (SECONDS_PER_SUBSET * 3.0**n + SECONDS_PER_PARTITION * 4.0**n)  # two ratios
    if only_bipartitions:
        seconds = SECONDS_PER_BIPARTITION * n * 2.0**n
    (filled,) = yield (
        _minimum_stage(
            "system",
            n,
            rows,
            compute=fill_minimum,
            inputs={"costs": costs, "zero": zero, **partition_inputs(only_bipartitions)},
            scratch=(60 * n if only_bipartitions else 400) * 2**n,
            cost=lambda region: seconds * (region[0].stop - region[0].start),
        ),
    )
    return {name: filled[name].values for name in MINIMUM_FIELDS}


def fill_minimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Search the directed partitions of a range of specified states."""
    rows = region[0]
    return minimum_partitions(inputs["costs"][rows], inputs["zero"][rows], inputs)


def partition_inputs(only_bipartitions: bool) -> dict[str, Array]:
    """Return the inputs of a stage that tell :func:`minimum_partitions` what to search."""
    return {"only_bipartitions": np.array(True)} if only_bipartitions else {}


def minimum_partitions(costs: Array, zero: Array, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Minimum partition at each state; of a run of equal costs, as symmetry makes, one search."""
    search = minimum_bipartition if "only_bipartitions" in inputs else minimum_partition
    rows: list[tuple[Any, ...]] = []
    for k, g in enumerate(costs):
        is_same = k > 0 and zero[k] == zero[k - 1] and np.array_equal(g, costs[k - 1])
        rows.append(rows[-1] if is_same else search(g, zero[k]))
    return columns_of(rows)


def columns_of(rows: list[tuple[Any, ...]]) -> dict[str, Array]:
    """Return one array per field of MINIMUM_FIELDS of rows that begin with these."""
    dtypes = ("float64", "int64", "float64", "uint64")
    named = enumerate(zip(MINIMUM_FIELDS, dtypes, strict=True))
    return {name: np.array([row[i] for row in rows], dtype) for i, (name, dtype) in named}


def _dinkelbach_stages(costs: Array, zero: Array) -> Steps[dict[str, Array]]:
    """Dinkelbach's method with one stage per ratio, its source sets split into blocks.

    A specified state takes part at the next ratio as long as its own falls (mathematics.md 21.3).
    """
    n = costs.shape[1]
    ratios = np.array([max(starting_partition(g)[0], 0.0) for g in costs])
    left = np.arange(len(costs))
    waves: list[tuple[Array, Filled]] = []
    while len(left):
        name = f"system/wave-{len(waves)}"
        at_ratio = {"costs": costs[left], "ratios": ratios[left]}
        yield (_ratio_stage(name, at_ratio),)
        (settled,) = yield (
            _minimum_stage(
                f"{name}-settled",
                n,
                len(left),
                compute=fill_optimum,
                inputs={**at_ratio, "least": StageRef(name, "least")},
                cost=lambda region: 3e-9 * 3.0**n * (region[0].stop - region[0].start),
            ),
        )
        waves.append((left, settled))
        # at least one pair: a plan goes through here with nothing computed
        cost, pairs = settled["cost"].values, np.maximum(settled["pairs"].values, 1)
        improved = (cost / pairs < ratios[left] - SUM_TOLERANCE_BITS / pairs) & (cost > zero[left])
        ratios[left] = np.where(improved, cost / pairs, ratios[left])
        left = left[improved]
    # Each state has the values of the last ratio it took part in; all took part in the first.
    values = {name: waves[0][1][name].values.copy() for name in MINIMUM_FIELDS}
    for left, settled in waves[1:]:
        for name in MINIMUM_FIELDS:
            values[name][left] = settled[name].values
    return values


def _ratio_stage(name: str, inputs: Mapping[str, Array]) -> Stage:
    rows, _, size = inputs["costs"].shape
    return Stage(
        name=name,
        grid=Grid(("candidate", "source"), (rows, size), power_of_two=("source",)),
        variables=(variable("least", "float64", np.nan),),
        compute=fill_ratio,
        inputs=inputs,
        cost=ratio_cost,
        prepare=prepare_ratio,
        scratch=400 * size,
    )


def ratio_cost(region: Region) -> float:
    """Predicted seconds of a range of source sets, of which none is left out."""
    candidates, sources = region
    units = np.bitwise_count(np.arange(sources.start, sources.stop, dtype=np.uint64))
    seconds = SECONDS_PER_SUBSET * 2.0**units + SECONDS_PER_PARTITION * 3.0**units
    return float((candidates.stop - candidates.start) * seconds.sum())


def prepare_ratio(inputs: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    """Partition what lies outside the source sets, and find which of these can be left out.

    Returns of each specified state its costs, its ratio, and both by source set, see source_minima.
    """
    states = zip(inputs["costs"], inputs["ratios"], strict=True)
    return [(g, r, set_partition_minima(g, r), candidate_sources(g, r)) for g, r in states]


def fill_ratio(searches: list[tuple[Any, ...]], region: Region) -> dict[str, Array]:
    """Fill the least cost at the states' ratios for a range of source sets."""
    rows, sources = region
    out = np.empty((rows.stop - rows.start, sources.stop - sources.start))
    for row, search in enumerate(searches[rows]):
        source_minima(*search, sources.start, sources.stop, out[row])
    return {"least": out}


def fill_optimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Turn the minima at one ratio into cost, pairs and the named partition of each state."""
    rows = []
    for k in range(region[0].start, region[0].stop):
        costs, least, ratio = inputs["costs"][k], inputs["least"][k], inputs["ratios"][k]
        whole = set_partition_minima(costs, ratio)
        pairs, ways, key = optimal_partitions(costs, ratio, whole, SUM_TOLERANCE_BITS, least)
        rows.append((least.min() + ratio * pairs, pairs, ways, key))
    return columns_of(rows)
