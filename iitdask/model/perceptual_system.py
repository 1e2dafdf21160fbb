"""A system with a sensory interface, as the target of a computation of what it perceives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from iitdask.errors import MemoryRefusedError, StateError, quote
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.labels import decode_state, first_names, is_listed, parse_state
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import System, Target, tabulate
from iitdask.types import Array


@dataclass(frozen=True, eq=False)
class PerceptualSystem(Target):
    """A system, and the units outside of it whose states are its stimuli.

    Build one with :meth:`build`. States of the system and stimuli are little-endian over their
    units in substrate order.

    Examples
    --------
    >>> from iitdask.model.examples import load
    >>> given = PerceptualSystem.build(load("grid3"), "A", "BC", tau=2, clamp=1)
    >>> given.labels, given.all_stimuli, given.system_levels
    (('B', 'C'), ((0,), (1,)), (2, 2))
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("sensory", "system", "tau", "clamp", "stimuli")
    REQUIRED: ClassVar[int] = 2

    sensory: tuple[int, ...]  # Unit numbers of the sensory interface, ascending
    system: tuple[int, ...]  # Unit numbers of the system, ascending
    tau: int  # Steps from the first to the last state, from 1 on
    clamp: int  # Steps for which the interface is held in the stimulus, 0 to tau
    stimuli: tuple[tuple[int, ...], ...] | None  # Those asked for; None: all

    @classmethod
    def build(  # noqa: PLR0917 - in the order of FIELDS
        cls,
        substrate: Substrate,
        sensory: object,
        system: object,
        tau: object = 1,
        clamp: object = None,
        stimuli: object = None,
    ) -> PerceptualSystem:
        """Build the target; `clamp` None is tau, `stimuli` None or ``"all"`` are all."""
        sides = _disjoint_units(substrate, sensory, system)
        tau = _whole_number(tau, "tau", 1)
        clamp = tau if clamp is None else _whole_number(clamp, "clamp", 0)
        if clamp > tau:
            raise StateError(f"clamp: expected a whole number from 0 to tau {tau}, got {clamp}")
        listed = None
        if stimuli is not None and not (isinstance(stimuli, str) and stimuli == "all"):
            listed = _parse_stimuli(substrate, sides[0], stimuli)
        target = cls(substrate, *sides, tau, clamp, listed)
        target._require_memory()
        return target

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the units of the system, which the masks of its stages number."""
        return tuple(self.substrate.labels[i] for i in self.system)

    @property
    def sensory_labels(self) -> tuple[str, ...]:
        """Labels of the units of the sensory interface."""
        return tuple(self.substrate.labels[i] for i in self.sensory)

    @property
    def system_levels(self) -> tuple[int, ...]:
        """Number of values of each unit of the system."""
        return tuple(self.substrate.levels[i] for i in self.system)

    @property
    def sensory_levels(self) -> tuple[int, ...]:
        """Number of values of each unit of the interface."""
        return tuple(self.substrate.levels[i] for i in self.sensory)

    @cached_property
    def all_stimuli(self) -> tuple[tuple[int, ...], ...]:
        """Every state of the interface, little-endian."""
        levels = self.sensory_levels
        return tuple(decode_state(code, levels) for code in range(math.prod(levels)))

    @property
    def system_states(self) -> tuple[tuple[int, ...], ...]:
        """Every state of the system, little-endian."""
        levels = self.system_levels
        return tuple(decode_state(code, levels) for code in range(math.prod(levels)))

    @property
    def requested(self) -> tuple[tuple[int, ...], ...]:
        """Stimuli that were asked for."""
        return self.all_stimuli if self.stimuli is None else self.stimuli

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        lists = [self.sensory, self.system, (self.tau, self.clamp)]
        if self.stimuli is not None:
            lists += [(), *self.stimuli]
        return target_fingerprint("perception", self.substrate, lists)

    def step_tables(self) -> Array:
        """Return ``(X, S, R)`` P(unit takes value | state of the system), by stimulus.

        S states of the system and X stimuli, little-endian; R values of unit 0, of unit 1, ...
        """
        inside = frozenset(self.system)
        factors = [self.substrate.factors[i] for i in self.system]
        return np.stack([
            tabulate(
                [f.conditioned(inside, self.universe_state(stimulus)) for f in factors],
                self.system, self.system_levels, budget=TABLE_BUDGET_BYTES,
                name=f"system of {len(self.system)} units", advice="choose fewer units",
            )
            for stimulus in self.all_stimuli
        ])  # fmt: skip

    def universe_state(
        self, stimulus: tuple[int, ...], response: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """Return the state of all units in which the system is in a state, or in all 0."""
        state = [0] * self.substrate.n_units
        for unit, value in zip(self.sensory, stimulus, strict=True):
            state[unit] = value
        for unit, value in zip(self.system, response or (), strict=response is not None):
            state[unit] = value
        return tuple(state)

    def triggered_system(self, stimulus: tuple[int, ...], response: tuple[int, ...]) -> System:
        """Return the candidate system in a state, with the interface in that of a stimulus."""
        return System.build(self.substrate, self.universe_state(stimulus, response), self.labels)

    def _require_memory(self) -> None:
        states, stimuli = math.prod(self.system_levels), math.prod(self.sensory_levels)
        need = 8 * states * (stimuli * (1 + sum(self.system_levels)) + 2 * states)
        if need > TABLE_BUDGET_BYTES:
            raise MemoryRefusedError(
                f"perception: {stimuli} stimuli of a system with {states} states need "
                f"{need / 2**30:.3g} GiB, more than the budget of "
                f"{TABLE_BUDGET_BYTES / 2**30:.3g} GiB; choose fewer units"
            )


def _disjoint_units(
    substrate: Substrate, sensory: object, system: object
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return interface and system, which have no unit in common and leave none out."""
    sides = {}
    for name, units in (("sensory", sensory), ("system", system)):
        if units is None:
            raise StateError(f"{name}: expected at least one unit, got none")
        try:
            sides[name] = substrate.parse_units(units)
        except StateError as error:
            raise StateError(str(error).replace("units:", f"{name}:", 1)) from None
        if not sides[name]:
            raise StateError(f"{name}: expected at least one unit, got none")
    both = set(sides["sensory"]) & set(sides["system"])
    others = set(range(substrate.n_units)) - {*sides["sensory"], *sides["system"]}
    for units, problem in ((both, "are in the sensory interface, too"), (others, "are in neither")):
        if units:
            names = first_names([substrate.labels[i] for i in sorted(units)])
            raise StateError(
                f"system: expected all units but those of the sensory interface; {names} {problem}"
            )
    return sides["sensory"], sides["system"]


def _whole_number(value: object, name: str, least: int) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise StateError(f"{name}: expected a whole number from {least}, got {quote(value)}")
    return int(value)


def _parse_stimuli(
    substrate: Substrate, sensory: tuple[int, ...], stimuli: Any
) -> tuple[tuple[int, ...], ...]:
    """Return listed stimuli, each once, in little-endian order."""
    if isinstance(stimuli, str) or not is_listed(stimuli) or not isinstance(stimuli, Iterable):
        raise StateError(f'stimuli: expected a list of states or "all", got {quote(stimuli)}')
    levels = [substrate.levels[i] for i in sensory]
    labels = tuple(substrate.labels[i] for i in sensory)
    found = {
        parse_state(each, levels, labels, f"stimuli: entry {number}")
        for number, each in enumerate(stimuli)
    }
    if not found:
        raise StateError("stimuli: expected at least one, got none")
    return tuple(sorted(found, key=lambda state: state[::-1]))
