"""Marginal tables of a system: the stage that fills them, and their layout for the kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
ROWS_AT_A_TIME = 1 << 12  # Of a table, put together of columns: they stay in cache


def table_shapes(inputs: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tables that searches read, see :class:`MarginalTables`."""
    levels = inputs["levels"].tolist()
    codes, n = prod(k + 1 for k in levels), len(levels)
    return {"effect": (codes, sum(levels)), "cause": (n, codes), "log_cause": (codes, n)}


def table_rows(
    inputs: Mapping[str, Array],
    shape: tuple[int, ...],
    parts: Sequence[tuple[Region, Array]],
    name: str,
    rows: slice,
) -> Array:
    """Return rows of a table that searches read, put together of stored marginals.

    Parameters
    ----------
    inputs : ``levels`` and ``state``, (n,) int64
    shape : numbers of sides and columns
    parts : regions of sides and columns that cover them, and their marginals, each
        (sides, columns, codes)
    name : of the table, see `table_shapes`
    rows : those to return; of ``cause`` they are units, else codes

    Returns
    -------
    (rows, columns of the table) float64; one row of ``cause`` is a view of a part
    """
    side = 0 if name == "effect" else shape[0] - 1
    marginals = {
        column: part[side - sides.start, column - columns.start]
        for (sides, columns), part in parts
        if sides.start <= side < sides.stop
        for column in range(columns.start, columns.stop)
    }
    own = (value_offsets(inputs["levels"])[:-1] + inputs["state"]).tolist()
    columns = [marginals[k] for k in (range(shape[1]) if name == "effect" else own)]
    if name == "cause":
        some = columns[rows]
        return some[0][None] if len(some) == 1 else np.stack(some)
    return _side_by_side(columns, rows, _log2 if name == "log_cause" else np.asarray)


def _side_by_side(
    columns: Sequence[Array], rows: slice, function: Callable[[Array], Array]
) -> Array:
    out = np.empty((rows.stop - rows.start, len(columns)))
    for first in range(0, len(out), ROWS_AT_A_TIME):
        some = out[first : first + ROWS_AT_A_TIME]
        begin = rows.start + first
        for k, column in enumerate(columns):
            some[:, k] = function(column[begin : begin + len(some)])
    return out


def _log2(probability: Array) -> Array:
    with np.errstate(divide="ignore"):  # log2(0) is minus infinity, and never weighed
        logarithm: Array = np.log2(probability)
        return logarithm


TABLES = SharedArrays("marginals", ("levels", "state"), table_shapes, table_rows, 2)


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
