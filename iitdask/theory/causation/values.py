"""Values of all pairs of occurrences in actual causation, as stages: log2 probabilities, bits."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from iitdask.errors import MemoryRefusedError, UnreachableStateError
from iitdask.kernels.causation import cause_values, effect_values
from iitdask.kernels.distributions import marginal_table, state_marginals
from iitdask.kernels.subsets import masks_by_size, segment_offsets, state_codes
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.transition import Transition
from iitdask.theory.causation.partitions import PairSearch
from iitdask.theory.stage import Array, Filled, Grid, Region, Stage, StageRef, uniform_cost
from iitdask.theory.variables import variable

TABLES_HELD = 4
"""Tables of one number per pair that a process holds at once."""


def pair_searches(transition: Transition) -> tuple[PairSearch, PairSearch]:
    """Return the searches for the causes of effects and for the effects of causes."""
    a, b = len(transition.causes), len(transition.effects)

    def search(
        name: str, forward: bool, n_mechanism_units: int, n_purview_units: int
    ) -> PairSearch:
        return PairSearch(
            name,
            forward,
            transition.children,
            n_mechanism_units,
            n_purview_units,
            min(transition.max_order, n_mechanism_units),
            StageRef(f"{name}/values", "bits"),
            StageRef(f"{name}/connected", "connected"),
        )

    return search("causes", False, b, a), search("effects", True, a, b)


def pair_bytes(rows: int, n_purview_units: int) -> int:
    """Return the bytes of the tables over mechanisms and purviews that a process holds at once."""
    return TABLES_HELD * 8 * rows << n_purview_units


def require_memory(transition: Transition, searches: tuple[PairSearch, PairSearch]) -> None:
    """Raise MemoryRefusedError if a table of a transition exceeds the memory budget."""
    codes = prod(k + 1 for k in transition.levels)
    need = max(
        8 * codes * len(transition.effects),
        *(pair_bytes(len(search.masks), search.n_purview_units) for search in searches),
    )
    if need > TABLE_BUDGET_BYTES:
        raise MemoryRefusedError(
            f"account of {len(transition.causes)} causes and {len(transition.effects)} effects: "
            f"its tables need {need / 2**30:.3g} GiB, more than the budget of "
            f"{TABLE_BUDGET_BYTES / 2**30:.3g} GiB; choose fewer units or a smaller max_order"
        )


def value_stages(
    transition: Transition, background: str, searches: tuple[PairSearch, PairSearch]
) -> tuple[Stage, ...]:
    """Return the stages that compute ``bits`` of all pairs, of causes and of effects.

    References
    ----------
    docs/mathematics.md 13.1, Eq. (25.3).
    """
    codes = float(np.prod([k + 1.0 for k in transition.levels]))
    a, b = len(transition.causes), len(transition.effects)
    tables = (transition.cause(background), transition.effect)
    each = (1.2e-9 * codes * (1 + b / 2), 3e-9 * 2**b + 1e-9)
    room = (16 * int(codes) * b, 24 * b * 2**a)
    return tuple(
        Stage(
            name=f"{search.name}/values",
            grid=Grid(("mechanism",), (len(search.masks),)),
            variables=(variable("bits", "float64", 0.0, search.purview_axis),),
            compute=fill_effect_values if search.forward else fill_cause_values,
            inputs={
                "tpm": table,
                "levels": np.array(transition.levels, np.int64),
                "state": np.array(transition.local_before, np.int64),
                "masks": search.masks,
            },
            prepare=prepare_effect_values if search.forward else prepare_cause_values,
            axis_masks={"mechanism": search.masks},
            cost=uniform_cost(seconds),
            scratch=scratch,
            size_is_known=True,
        )
        for search, table, seconds, scratch in zip(searches, tables, each, room, strict=True)
    )


def pair_values(search: PairSearch, tpm: Array, levels: Array, state: Array) -> Array:
    """Compute the values of all pairs of one direction in this process.

    Parameters
    ----------
    tpm : (S, effects) P(effect has its value after | state of the causes)
    levels, state : (a,) values and current state of the causes

    Returns
    -------
    ndarray
        (rows, 2**purview units) log2 of probabilities, bits.
    """
    inputs = {"tpm": tpm, "levels": levels, "state": state, "masks": search.masks}
    region = (slice(0, len(search.masks)),)
    if search.forward:
        return fill_effect_values(prepare_effect_values(inputs), region)["bits"]
    return fill_cause_values(prepare_cause_values(inputs), region)["bits"]


def _writable(inputs: Mapping[str, Array]) -> list[Array]:
    return [np.require(inputs[name], None, ["C", "W"]) for name in ("tpm", "levels", "state")]


def prepare_cause_values(inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Compute the marginals of every state of every set of causes."""
    tpm, levels, state = _writable(inputs)
    offsets = segment_offsets(levels)
    table = np.empty((offsets[-1], tpm.shape[1]))
    marginal_table(tpm, levels, offsets, table)
    codes = state_codes(offsets, state, len(levels))
    return table, offsets, codes, inputs["masks"]


def fill_cause_values(prepared: tuple[Array, ...], region: Region) -> dict[str, Array]:
    """Compute the values of all sets of causes for a range of occurrences."""
    table, offsets, codes, masks = prepared
    mechanisms = masks[region[0]]
    out = np.empty((len(mechanisms), len(codes)))
    for row, mechanism in enumerate(mechanisms.tolist()):
        cause_values(table, offsets, codes, mechanism, out[row])
    return {"bits": out}


def prepare_effect_values(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Compute logarithms of the marginals given every set of causes in its actual state."""
    rows = state_marginals(*_writable(inputs))
    with np.errstate(divide="ignore"):
        return np.log2(rows), inputs["masks"]


def fill_effect_values(prepared: tuple[Array, Array], region: Region) -> dict[str, Array]:
    """Compute the values of all sets of effects for a range of occurrences."""
    logs, masks = prepared
    mechanisms = masks[region[0]]
    out = np.empty((len(mechanisms), 1 << logs.shape[1]))
    for row, mechanism in enumerate(mechanisms.tolist()):
        effect_values(logs, mechanism, out[row])
    return {"bits": out}


def require_defined_causes(transition: Transition, values: Filled) -> None:
    """Raise UnreachableStateError if an occurrence has no cause repertoire.

    Products of probabilities can underflow; the message names the smallest such occurrence.
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
