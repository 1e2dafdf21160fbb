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
from iitdask.theory.stage import Array, Grid, Region, Stage, StageRef
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
    )


def fill_marginals(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Fill a range of columns of one or both tables."""
    sides, columns = region
    levels = inputs["levels"]
    offsets = segment_offsets(levels)
    out = []
    for side in range(sides.start, sides.stop):
        tpm = np.ascontiguousarray(inputs["tpm"][side][:, columns])
        table = np.empty((offsets[-1], tpm.shape[1]))
        marginal_table(tpm, levels, offsets, table)
        out.append(table.T)
    return {"probability": np.stack(out)}


def table_inputs(system: CandidateSystem) -> dict[str, Array | StageRef]:
    """Return the inputs from which :func:`prepare_tables` makes the tables."""
    return {**unit_arrays(system), "marginals": StageRef("marginals", "probability")}


PreparedTables = tuple[MarginalTables, Mapping[str, Array]]  # And a stage's other inputs


def prepare_tables(inputs: Mapping[str, Array], causes: bool = True) -> PreparedTables:
    """Arrange the stored marginals as the searches read them, and take the logarithms once.

    Causes need as much memory again as effects: without `causes` their tables are empty.
    """
    levels, state, marginals = inputs["levels"], inputs["state"], inputs["marginals"]
    offsets = segment_offsets(levels)
    codes = state_codes(offsets, state, len(levels))
    effect = np.ascontiguousarray(marginals[0].T)
    columns = value_offsets(levels)
    cause = np.ascontiguousarray(marginals[-1][columns[:-1] + state, : None if causes else 0])
    with np.errstate(divide="ignore"):  # log2(0) is minus infinity, and never weighed
        log_cause, log_effect = np.log2(cause), np.log2(effect[codes])
    tables = MarginalTables(
        levels=levels,
        columns=columns,
        offsets=offsets,
        children=inputs["children"],
        codes=codes,
        cause=cause,
        log_cause=np.ascontiguousarray(log_cause.T),
        effect=effect,
        log_effect=log_effect,
    )
    return tables, {name: inputs[name] for name in inputs if name != "marginals"}


def whole_tables(system: CandidateSystem) -> MarginalTables:
    """Compute the tables of a small system here and now."""
    stage = marginals_stage(system)
    inputs: dict[str, Any] = {**table_inputs(system), **stage.inputs}
    region = tuple(slice(0, length) for length in stage.grid.shape)
    inputs["marginals"] = fill_marginals(inputs, region)["probability"]
    return prepare_tables(inputs)[0]


def prepare_effect_tables(inputs: Mapping[str, Array]) -> PreparedTables:
    """Arrange the stored marginals for searches of effects alone."""
    return prepare_tables(inputs, causes=False)
