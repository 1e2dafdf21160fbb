"""Marginal tables of a system: the stage that fills them, and their layout for the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from iitdask.kernels.distributions import marginal_table
from iitdask.kernels.iit4.pair import MarginalTables
from iitdask.kernels.subsets import segment_offsets, state_codes, value_offsets
from iitdask.model.system import CandidateSystem
from iitdask.theory.stage import Array, Grid, Region, SharedArrays, Stage, StageRef
from iitdask.theory.variables import variable


def child_masks(connectivity: Array) -> Array:
    """Return the mask of the units that each unit feeds, (n,), from an (n, m) matrix, m <= 62."""
    return np.asarray(connectivity @ (1 << np.arange(connectivity.shape[1], dtype=np.int64)))


def unit_arrays(system: CandidateSystem) -> dict[str, Array]:
    """Return what every stage over units needs: levels, state and children, each (n,) int64."""
    return {
        "levels": np.array(system.levels, np.int64),
        "state": np.array(system.local_state, np.int64),
        "children": child_masks(system.connectivity),
    }


def marginals_stage(system: CandidateSystem) -> Stage:
    """Return the stage of marginal tables over every subset of inputs.

    Parameters
    ----------
    system : the candidate system, n units

    Returns
    -------
    Stage, ``probability`` (sides, columns, codes); one side where both tables are the same array

    References
    ----------
    docs/mathematics.md 19, Eq. (19.1).
    """
    sides = (system.effect,) if system.cause is system.effect else (system.effect, system.cause)
    codes, columns = prod(k + 1 for k in system.levels), system.effect.shape[1]
    return Stage(
        name="marginals",
        grid=Grid(("side", "column"), (len(sides), columns)),
        variables=(variable("probability", "float64", np.nan, (("code", codes),)),),
        compute=fill_marginals,
        inputs={"tpm": np.stack(sides), "levels": np.array(system.levels, np.int64)},
        cost=lambda region: 2e-9 * codes * prod(axis.stop - axis.start for axis in region),
        scratch=16 * codes,
        is_read_by_recipe=False,
    )


def fill_marginals(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Fill a range of columns of one or both tables."""
    sides, columns = region
    levels = inputs["levels"]
    offsets = segment_offsets(levels)
    width = columns.stop - columns.start
    out = np.empty((sides.stop - sides.start, width, offsets[-1]))
    for row, side in enumerate(range(sides.start, sides.stop)):
        tpm = np.ascontiguousarray(inputs["tpm"][side][:, columns])
        table = np.empty((offsets[-1], width))
        marginal_table(tpm, levels, offsets, table)
        out[row] = table.T
    return {"probability": out}


def table_inputs(system: CandidateSystem) -> dict[str, Array | StageRef]:
    """Return the inputs from which ``TABLES`` and :func:`prepare_tables` make the tables."""
    return {**unit_arrays(system), "marginals": StageRef("marginals", "probability")}


PreparedTables = tuple[MarginalTables, Mapping[str, Array]]  # And a stage's other inputs
ROWS_AT_A_TIME = 1 << 13  # Of a table into which columns are written: they stay in cache


def table_shapes(inputs: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tables that searches read, see :class:`MarginalTables`."""
    levels = inputs["levels"].tolist()
    codes, n = prod(k + 1 for k in levels), len(levels)
    return {"effect": (codes, sum(levels)), "cause": (n, codes), "log_cause": (codes, n)}


def place_marginals(
    inputs: Mapping[str, Array],
    shape: tuple[int, ...],
    region: Region,
    part: Array,
    out: Mapping[str, Array],
) -> None:
    """Put columns of stored marginals where the searches read them; take their logarithms.

    Parameters
    ----------
    inputs : ``levels`` and ``state``, (n,) int64
    shape, region : numbers of sides and columns, and those that the part covers
    part : (sides, columns, codes)
    out : arrays of the shapes of `table_shapes`
    """
    sides, columns = region
    own = (value_offsets(inputs["levels"])[:-1] + inputs["state"]).tolist()
    effects = range(columns.start, columns.stop) if sides.start == 0 else ()
    for row in range(0, part.shape[2], ROWS_AT_A_TIME):
        rows = slice(row, row + ROWS_AT_A_TIME)
        for column in effects:  # one by one takes half as long as the transpose of all
            out["effect"][rows, column] = part[0, column - columns.start, rows]
    if sides.stop == shape[0]:
        for unit, column in enumerate(own):
            if columns.start <= column < columns.stop:
                _place_cause(part[-1, column - columns.start], unit, out)


def _place_cause(cause: Array, unit: int, out: Mapping[str, Array]) -> None:
    out["cause"][unit] = cause
    for row in range(0, len(cause), ROWS_AT_A_TIME):
        rows = slice(row, row + ROWS_AT_A_TIME)
        with np.errstate(divide="ignore"):  # log2(0) is minus infinity, and never weighed
            out["log_cause"][rows, unit] = np.log2(cause[rows])


TABLES = SharedArrays("marginals", ("levels", "state"), table_shapes, place_marginals, 2)


def prepare_tables(inputs: Mapping[str, Array]) -> PreparedTables:
    """Arrange the tables as the searches read them."""
    levels, state, effect = inputs["levels"], inputs["state"], inputs["effect"]
    offsets = segment_offsets(levels)
    codes = state_codes(offsets, state, len(levels))
    with np.errstate(divide="ignore"):
        log_effect = np.log2(effect[codes])
    tables = MarginalTables(
        levels=levels,
        columns=value_offsets(levels),
        offsets=offsets,
        children=inputs["children"],
        codes=codes,
        cause=inputs["cause"],
        log_cause=inputs["log_cause"],
        effect=effect,
        log_effect=log_effect,
    )
    made = {TABLES.source, *table_shapes(inputs)}
    return tables, {name: array for name, array in inputs.items() if name not in made}


def whole_tables(system: CandidateSystem) -> MarginalTables:
    """Compute the tables of a small system here and now."""
    stage = marginals_stage(system)
    inputs: dict[str, Any] = {**table_inputs(system), **stage.inputs}
    region = tuple(slice(0, length) for length in stage.grid.shape)
    inputs["marginals"] = fill_marginals(inputs, region)["probability"]
    return prepare_tables(inputs | TABLES.make(inputs))[0]
