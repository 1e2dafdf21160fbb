"""What occurrences make of each other, as stages: probabilities of actual states, in bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import MemoryRefusedError, UnreachableStateError
from iitdask.kernels.codes import segment_offsets, state_codes
from iitdask.kernels.marginals import marginal_table, state_marginals
from iitdask.kernels.occurrences import cause_values, effect_values, masks_by_size
from iitdask.model.contraction import BUDGET
from iitdask.model.transition import Transition
from iitdask.theory.base import Answer, Grid, Region, Stage, Stored
from iitdask.theory.parting import Parting
from iitdask.theory.vocabulary import variable

__all__ = ["pair_bytes", "pair_values", "require_possible", "require_room", "sides", "value_stages"]

Array = NDArray[Any]
HELD = 4
"""Tables of pairs, one number each, that are held at once."""


def sides(transition: Transition) -> tuple[Parting, Parting]:
    """Occurrences among effects with their causes, and among causes with their effects."""
    a, b = len(transition.causes), len(transition.effects)
    children = transition.children
    order = transition.max_order
    made = []
    for name, forward, own, other in (("causes", False, b, a), ("effects", True, a, b)):
        bits, joined = Stored(f"{name}/values", "bits"), Stored(f"{name}/connected", "connected")
        made.append(Parting(name, forward, children, own, other, min(order, own), bits, joined))
    return made[0], made[1]


def pair_bytes(rows: int, other: int) -> int:
    """Bytes of the tables over mechanisms and purviews that a process holds at once."""
    return HELD * 8 * rows << other


def require_room(transition: Transition, wanted: tuple[Parting, Parting]) -> None:
    """Refuse what could only fail.

    Raises
    ------
    MemoryRefusedError
        A table would be larger than the budget.
    """
    codes = prod(k + 1 for k in transition.levels)
    need = max(
        8 * codes * len(transition.effects),
        *(pair_bytes(len(side.masks), side.other) for side in wanted),
    )
    if need > BUDGET:
        raise MemoryRefusedError(
            f"account of {len(transition.causes)} causes and {len(transition.effects)} effects: "
            f"its tables need {need / 2**30:.3g} GiB, more than the budget of "
            f"{BUDGET / 2**30:.3g} GiB; choose fewer units or a smaller max_order"
        )


@dataclass(frozen=True, slots=True)
class ValueCost:
    """Predicted seconds of a range of mechanisms."""

    each: float
    """Seconds of one."""

    def __call__(self, region: Region) -> float:
        """Seconds of the range."""
        return self.each * float(region[0].stop - region[0].start)


def value_stages(
    transition: Transition, background: str, wanted: tuple[Parting, Parting]
) -> tuple[Stage, Stage]:
    """Values of all pairs in both directions."""
    causes, effects = wanted
    codes = float(np.prod([k + 1.0 for k in transition.levels]))
    a, b = len(transition.causes), len(transition.effects)
    tables = (transition.cause(background), transition.effect)
    each = (1.2e-9 * codes * (1 + b / 2), 3e-9 * 2**b + 1e-9)
    room = (16 * int(codes) * b, 24 * b * 2**a)
    first, second = (
        Stage(
            name=f"{side.name}/values",
            grid=Grid(("mechanism",), (len(side.masks),)),
            fills=(variable("bits", "float64", 0.0, (("purview", 1 << side.other),)),),
            compute=fill_effect_values if side.forward else fill_cause_values,
            inputs={
                "tpm": table,
                "levels": np.array(transition.levels, np.int64),
                "state": np.array(transition.local_before, np.int64),
                "masks": side.masks,
            },
            prepare=prepare_effects if side.forward else prepare_causes,
            members={"mechanism": side.masks},
            cost=ValueCost(seconds),
            scratch=scratch,
            fixed=True,
        )
        for side, table, seconds, scratch in zip((causes, effects), tables, each, room, strict=True)
    )
    return first, second


def pair_values(side: Parting, tpm: Array, levels: Array, state: Array) -> Array:
    """Values of all pairs in one direction, here and now."""
    inputs = {"tpm": tpm, "levels": levels, "state": state, "masks": side.masks}
    region = (slice(0, len(inputs["masks"])),)
    if side.forward:
        return fill_effect_values(prepare_effects(inputs), region)["bits"]
    return fill_cause_values(prepare_causes(inputs), region)["bits"]


def prepare_causes(inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Marginals of every state of every set of causes."""
    tpm, levels, state = (
        np.require(inputs[x], None, ["C", "W"]) for x in ("tpm", "levels", "state")
    )
    offsets = segment_offsets(levels)
    table = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, levels, offsets, table)
    codes = state_codes(offsets, state, len(levels))
    return table, offsets, codes, inputs["masks"]


def fill_cause_values(prepared: tuple[Array, ...], region: Region) -> dict[str, Array]:
    """Values of all sets of causes for a range of occurrences."""
    table, offsets, codes, masks = prepared
    chosen = masks[region[0]]
    out = np.empty((len(chosen), len(codes)))
    for row, mechanism in enumerate(chosen.tolist()):
        cause_values(table, offsets, codes, mechanism, out[row])
    return {"bits": out}


def prepare_effects(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Logarithms of the marginals given every set of causes in its actual state."""
    rows = state_marginals(
        *(np.require(inputs[x], None, ["C", "W"]) for x in ("tpm", "levels", "state"))
    )
    with np.errstate(divide="ignore"):
        return np.log2(rows), inputs["masks"]


def fill_effect_values(prepared: tuple[Array, Array], region: Region) -> dict[str, Array]:
    """Values of all sets of effects for a range of occurrences."""
    logs, masks = prepared
    chosen = masks[region[0]]
    out = np.empty((len(chosen), 1 << logs.shape[1]))
    for row, mechanism in enumerate(chosen.tolist()):
        effect_values(logs, mechanism, out[row])
    return {"bits": out}


def require_possible(transition: Transition, values: Answer) -> None:
    """Refuse occurrences without a cause repertoire: products of probabilities that underflow.

    Raises
    ------
    UnreachableStateError
        Names the smallest such occurrence.
    """
    undefined = np.flatnonzero(np.isnan(values["bits"].values[:, -1]))
    if not len(undefined):
        return
    mask = int(masks_by_size(len(transition.effects))[undefined[0]])
    labels, after = transition.substrate.labels, transition.after
    units = [unit for k, unit in enumerate(transition.effects) if mask >> k & 1]
    shown = ", ".join(f"{labels[i]}={after[i]}" for i in units)
    raise UnreachableStateError(
        f"after: the probability of {shown} is 0 in double precision whatever the causes; "
        "its causes are not defined"
    )
