"""Repertoires of the purviews that were chosen, kept with the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.codes import segment_offsets, state_codes, value_offsets
from iitdask.kernels.repertoire import write_repertoires
from iitdask.model.system import System
from iitdask.theory.base import Answer, Grid, Region, Stage
from iitdask.theory.distinctions import Distinction
from iitdask.theory.tables import table_inputs
from iitdask.theory.vocabulary import described, variable

__all__ = ["MOST_ROWS", "kept_repertoires", "repertoires_stage"]

Array = NDArray[Any]
MOST_ROWS = 1 << 23
"""States of all chosen purviews together, up to which their repertoires are kept (64 MiB)."""


def repertoires_stage(system: System, chosen: Sequence[Distinction]) -> Stage | None:
    """Write the repertoires out, one row per state of a purview; None where they are too many."""
    listed = [(0, d.choices.mechanism, d.cause.purview) for d in chosen]
    listed += [(1, d.choices.mechanism, d.effect.purview) for d in chosen]
    pairs = np.array(listed, np.int64).reshape(len(listed), 3)
    states = np.diff(segment_offsets(np.array(system.levels)))  # of every purview
    begins = np.concatenate([[0], np.cumsum(states[pairs[:, 2]])])
    if not 0 < begins[-1] <= MOST_ROWS:
        return None
    return Stage(
        name="repertoires",
        grid=Grid(("row",), (int(begins[-1]),)),
        fills=(variable("repertoire", "float64", np.nan),),
        compute=fill_repertoires,
        inputs={
            **table_inputs(system),
            "pairs": pairs,
            "begins": begins.astype(np.int64),
        },
        prepare=prepare_repertoires,
        cost=lambda region: 1e-5 + 4e-9 * system.n * (region[0].stop - region[0].start),
    )


def prepare_repertoires(inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Take from the marginals what repertoires at the current state are made of."""
    levels, state, marginals = inputs["levels"], inputs["state"], inputs["marginals"]
    offsets, columns = segment_offsets(levels), value_offsets(levels)
    codes = state_codes(offsets, state, len(levels))
    cause = np.ascontiguousarray(marginals[-1][columns[:-1] + state])
    effect = np.ascontiguousarray(marginals[0][:, codes].T)
    return cause, effect, levels, columns, offsets, inputs["pairs"], inputs["begins"]


def fill_repertoires(prepared: tuple[Array, ...], region: Region) -> dict[str, Array]:
    """Write a range of rows."""
    out = np.empty(region[0].stop - region[0].start)
    write_repertoires(*prepared, region[0].start, out)
    return {"repertoire": out}


def kept_repertoires(stage: Stage, filled: Answer) -> xr.Dataset:
    """Return the node ``/repertoires``: both sides ragged, a row per state of a purview.

    Rows ``begin_cause[k]`` to ``begin_cause[k + 1]`` of ``constrained_cause`` are the cause
    repertoire of distinction k, its purview's states little-endian; likewise ``_effect``.
    """
    begins = np.asarray(stage.inputs["begins"])
    rows, half = filled["repertoire"].values, len(begins) // 2
    middle = begins[half]
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "begin_cause": (("edge",), begins[: half + 1]),
        "constrained_cause": (("row_cause",), rows[:middle]),
        "begin_effect": (("edge",), begins[half:] - middle),
        "constrained_effect": (("row_effect",), rows[middle:]),
    }
    return described(values)
