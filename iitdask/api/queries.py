"""Public functions that answer one question about a system without a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from iitdask.errors import InputError, StateError, quote
from iitdask.model.labels import decode_state, purview_unit_states, state_text, unit_set_names
from iitdask.model.macro_system import AnySystem
from iitdask.model.readers import require_substrate
from iitdask.model.substrate import Substrate
from iitdask.model.system import CandidateSystem
from iitdask.result.formatting import partition_texts, text_array
from iitdask.theory.catalog import theory_options
from iitdask.theory.iit4.cut_values import DIRECTIONS, severed_inputs
from iitdask.theory.iit4.pair_queries import (
    mechanism_details,
    pair_partition_phi,
    repertoires,
    system_partition_phi,
)
from iitdask.theory.options import IIT4, IIT42026, TheoryLike, Unfolding
from iitdask.theory.variables import make_dataset, units_of_masks
from iitdask.types import StateLike, UnitsLike

__all__ = ["mechanism", "partition", "repertoire"]

Direction = Literal["cause", "effect"]
MAX_QUERY_UNITS = 14  # Units of a system whose purviews are all looked at


def repertoire(  # noqa: PLR0917 - in the order in which they are told
    substrate: Substrate,
    state: StateLike,
    mechanism: UnitsLike,
    purview: UnitsLike,
    direction: Direction,
    units: UnitsLike | None = None,
) -> xr.DataArray:
    """Return the cause or effect repertoire of a mechanism over a purview.

    Parameters
    ----------
    substrate, state, units
        As for :func:`iitdask.sia`.
    mechanism, purview : labels or numbers
        Units of the candidate system.
    direction : {"cause", "effect"}
        What is asked for.

    Returns
    -------
    DataArray
        Probabilities ``(repertoire, state)``: ``repertoire`` is ``"constrained"``, given the
        mechanism's state, or ``"unconstrained"``, with it unknown (uniform, for causes);
        ``state`` is text, little-endian over the purview's units in substrate order.

    Raises
    ------
    StateError
        State or units do not fit the substrate.
    InputError
        The direction is neither.

    References
    ----------
    mathematics.md 3 (Albantakis et al. 2023).

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.repertoire(iit.examples.load("basic"), "100", "A", "BC", "effect")
    >>> found.sel(repertoire="constrained", state="01").item()
    0.25
    """
    system = AnySystem.build(require_substrate(substrate), state, units)
    mechanism_units = _units_within(system, mechanism, "mechanism")
    purview_units = _units_within(system, purview, "purview")
    number = _direction_number(direction)
    values = repertoires(system, number, mechanism_units, purview_units)
    levels = [system.levels[unit] for unit in purview_units]
    texts = [state_text(decode_state(code, levels)) for code in range(values.shape[1])]
    names = [_name(system, some) for some in (mechanism_units, purview_units)]
    attrs = {"mechanism": names[0], "purview": names[1], "direction": direction}
    coords: dict[str, Any] = {
        "repertoire": ["constrained", "unconstrained"], "state": text_array(texts),
    }  # fmt: skip
    return xr.DataArray(values, coords, ("repertoire", "state"), "probability", attrs)


def mechanism(
    substrate: Substrate,
    state: StateLike,
    mechanism: UnitsLike,
    units: UnitsLike | None = None,
    theory: TheoryLike = "iit4",
) -> xr.Dataset:
    """Evaluate one mechanism over every purview, as cause and as effect.

    Parameters
    ----------
    substrate, state, units, theory
        As for :func:`iitdask.sia`; a theory of IIT 4.0.
    mechanism : labels or numbers
        Units of the candidate system.

    Returns
    -------
    Dataset
        Dims ``direction``, ``purview``: ``phi``, ``normalized_phi``,
        ``intrinsic_information`` (bits), ``state(direction, purview, unit)`` (-1 outside of the
        purview), ``partition`` (the minimum partition as text), ``n_tied_states``; phi is NaN
        where the purview is not connected with the mechanism.

    Raises
    ------
    StateError, InputError
        As for :func:`iitdask.sia`; or the system is larger than what one call should take.

    References
    ----------
    mathematics.md 6 (Albantakis et al. 2023).

    Examples
    --------
    >>> import iitdask as iit
    >>> found = iit.mechanism(iit.examples.load("xor"), "000", "AB")
    >>> found["phi"].sel(direction="effect", purview="C").item()
    1.0
    """
    _unfolding(theory)
    system = AnySystem.build(require_substrate(substrate), state, units)
    if system.n > MAX_QUERY_UNITS:
        raise InputError(f"units: expected up to {MAX_QUERY_UNITS} units, got {system.n}")
    chosen = sum(1 << unit for unit in _units_within(system, mechanism, "mechanism"))
    found = mechanism_details(system, chosen)
    masks = list(range(1, 1 << system.n))
    inside, admissible = units_of_masks(masks, system.n), ~np.isnan(found.phi)
    own = np.tile(units_of_masks([chosen], system.n), (len(masks), 1))
    known = system.substrate.labels
    partitions = np.full(found.phi.shape, "", object)
    states = np.full((*found.phi.shape, system.n), -1)
    for row, side in enumerate(get_args(Direction)):
        at = np.flatnonzero(admissible[row])
        sides = (own[at], inside[at], found.kept[row, at])
        partitions[row, at] = partition_texts(system.labels, side == "cause", sides, known)
        purviews = [masks[k] for k in at.tolist()]
        states[row, at] = purview_unit_states(found.state[row, at], system.levels, purviews)
    cells = ("direction", "purview")
    return make_dataset(
        {
            "phi": (cells, found.phi),
            "normalized_phi": (cells, found.phi / np.maximum(found.pairs, 1)),
            "intrinsic_information": (cells, found.information),
            "state": ((*cells, "unit"), states),
            "partition": (cells, partitions),
            "n_tied_states": (cells, found.ties),
            "purview_units": (("purview", "unit"), inside),
        },
        {"mechanism": _name(system, [u for u in range(system.n) if chosen >> u & 1])},
        {
            "direction": ("direction", np.array(get_args(Direction), object)),
            "purview": ("purview", text_array(unit_set_names(inside, system.labels, known))),
            "unit": ("unit", text_array(system.labels)),
        },
    )


def partition(  # noqa: PLR0917 - in the order in which they are told
    substrate: Substrate,
    state: StateLike,
    parts: Sequence[tuple[UnitsLike, Any]],
    mechanism: UnitsLike | None = None,
    purview: UnitsLike | None = None,
    direction: Direction | None = None,
    units: UnitsLike | None = None,
    theory: TheoryLike = "iit4",
) -> xr.Dataset:
    """Return what a partition costs that is given, of a system or of a mechanism and a purview.

    Parameters
    ----------
    substrate, state, units, theory
        As for :func:`iitdask.sia`; a theory of IIT 4.0.
    parts : list of pairs
        Of a system: units of a block, and what it is cut off from, ``"cause"`` (its inputs),
        ``"effect"`` (its outputs) or ``"both"``. Of a mechanism: units of the mechanism and of the
        purview that stay together; either may be empty (``""`` or ``[]``).
    mechanism, purview, direction : optional
        Those that the parts divide, and ``"cause"`` or ``"effect"``; a system without them.

    Returns
    -------
    Dataset
        ``phi``, ``normalized_phi`` (bits), and ``severed(source, target)``; of a system also
        ``phi_cause``, ``phi_effect``, at the states that it specifies; of a mechanism at the state
        that the pair specifies, the ``state(unit)``.

    Raises
    ------
    StateError, InputError
        As for :func:`iitdask.sia`; or the parts are no partition.

    References
    ----------
    mathematics.md 5 to 8 (Albantakis et al. 2023).

    Examples
    --------
    >>> import iitdask as iit
    >>> basic = iit.examples.load("basic")
    >>> found = iit.partition(basic, "100", [("A", "both"), ("BC", "effect")])
    >>> int(found["severed"].sum())
    4
    """
    options = _unfolding(theory)
    system = AnySystem.build(require_substrate(substrate), state, units)
    given = [name for name, value in (("mechanism", mechanism), ("purview", purview),
                                      ("direction", direction)) if value is not None]  # fmt: skip
    if given and len(given) < 3:
        raise InputError(
            f"partition: expected mechanism, purview and direction together, got {given[0]} alone"
            if len(given) == 1
            else f"partition: expected mechanism, purview and direction, got {' and '.join(given)}"
        )
    pairs = _pairs(parts)
    if not given:
        return _system_partition(system, options, pairs)
    sides = (
        _units_within(system, mechanism, "mechanism"), _units_within(system, purview, "purview"),
    )  # fmt: skip
    return _pair_partition(system, pairs, sides, _direction_number(direction))


def _system_partition(
    system: CandidateSystem, options: Unfolding, pairs: list[tuple[Any, Any]]
) -> xr.Dataset:
    blocks = []
    for k, (units, way) in enumerate(pairs):
        if way not in DIRECTIONS:
            raise InputError(
                f"parts: entry {k}: expected one of {', '.join(DIRECTIONS)}, got {quote(way)}"
            )
        blocks.append(_units_within(system, units, f"parts: entry {k}"))
    _require_partition(system, blocks, range(system.n), "units of the system")
    if len(blocks) < 2 and system.n > 1:
        raise InputError("parts: expected at least two blocks, got one, which severs nothing")
    masks = [sum(1 << unit for unit in units) for units in blocks]
    severed = severed_inputs(system.n, masks, [way for _, way in pairs]) if system.n > 1 else [1]
    found = system_partition_phi(system, options, severed)
    lost = np.array([[bool(mask >> a & 1) for mask in severed] for a in range(system.n)])
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), found.phi),
        "normalized_phi": ((), found.phi / int(lost.sum())),
        "phi_cause": ((), found.sides[0]),
        "phi_effect": ((), found.sides[1]),
    }
    states = zip(("cause_state", "effect_state"), found.states, strict=True)
    values |= {
        name: (("unit",), np.array(decode_state(code, system.levels))) for name, code in states
    }
    return _partition_dataset(system, values, lost)


def _pair_partition(
    system: CandidateSystem,
    pairs: list[tuple[Any, Any]],
    sides: tuple[tuple[int, ...], tuple[int, ...]],
    direction: int,
) -> xr.Dataset:
    parts = [
        tuple(_units_within(system, some, f"parts: entry {k}", can_be_empty=True) for some in pair)
        for k, pair in enumerate(pairs)
    ]
    for index, name in enumerate(("mechanism", "purview")):
        some = [part[index] for part in parts]
        _require_partition(system, some, sides[index], f"units of the {name}")
    lost = np.zeros((system.n, system.n), bool)  # [mechanism unit, purview unit]
    lost[np.ix_(*sides)] = True
    for a, b in parts:
        lost[np.ix_(a, b)] = False
    if not lost.any():
        raise InputError("parts: expected a partition that severs something, got one that does not")
    chosen, purview = (sum(1 << unit for unit in side) for side in sides)
    found = mechanism_details(system, chosen)
    if np.isnan(found.phi[direction, purview - 1]):
        raise InputError("purview: expected one that is connected with the mechanism, got another")
    code = int(found.state[direction, purview - 1])
    phi = pair_partition_phi(system, direction, [(a, b) for a, b in parts], code)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), phi),
        "normalized_phi": ((), phi / int(lost.sum())),
        "state": (("unit",), purview_unit_states([code], system.levels, [purview])[0]),
    }
    return _partition_dataset(system, values, lost if direction else lost.T)


def _partition_dataset(
    system: CandidateSystem, values: dict[str, tuple[tuple[str, ...], Any]], severed: Any
) -> xr.Dataset:
    values["severed"] = (("source", "target"), severed)
    names = text_array(system.labels)
    return make_dataset(values, None, {dim: (dim, names) for dim in ("unit", "source", "target")})


def _unfolding(theory: TheoryLike) -> Unfolding:
    options = theory_options(theory, compute="sia")
    if not isinstance(options, IIT4 | IIT42026):
        raise InputError(f"theory: expected iit4 or iit4-2026, got {quote(theory)}")
    return options


def _direction_number(direction: Any) -> int:
    if direction not in get_args(Direction):
        raise InputError(f"direction: expected cause or effect, got {quote(direction)}")
    return get_args(Direction).index(direction)


def _pairs(parts: Any) -> list[tuple[Any, Any]]:
    is_list = isinstance(parts, list | tuple) and len(parts) > 0
    if not is_list or any(not isinstance(p, list | tuple) or len(p) != 2 for p in parts):
        raise InputError(f"parts: expected a list of pairs, got {quote(parts)}")
    return [(first, second) for first, second in parts]


def _units_within(
    system: CandidateSystem, units: Any, where: str, *, can_be_empty: bool = False
) -> tuple[int, ...]:
    """Return positions of units in the candidate system, ascending."""
    if can_be_empty and (units is None or (isinstance(units, str | list | tuple) and not units)):
        return ()
    try:
        numbers = system.network.parse_units(units) if units is not None else ()
    except StateError as error:
        raise StateError(str(error).replace("units:", f"{where}:", 1)) from None
    if not numbers:
        raise StateError(f"{where}: expected at least one unit, got none")
    outside = [system.network.labels[unit] for unit in numbers if unit not in system.units]
    if outside:
        raise StateError(f"{where}: expected units of the candidate system, got {outside[0]}")
    return tuple(system.units.index(unit) for unit in numbers)


def _require_partition(
    system: CandidateSystem, blocks: Sequence[Sequence[int]], units: Any, what: str
) -> None:
    given = sorted(unit for block in blocks for unit in block)
    if given != sorted(units):
        names = ", ".join(system.labels[unit] for unit in sorted(units))
        raise InputError(f"parts: expected each of the {what} {names} in one part, got others")


def _name(system: CandidateSystem, units: Sequence[int]) -> str:
    inside = units_of_masks([sum(1 << unit for unit in units)], system.n)
    return unit_set_names(inside, system.labels, system.substrate.labels)[0]
