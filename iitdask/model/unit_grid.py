"""Units on a line, a ring, a plane or a torus, with weights that depend on their distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.types import Array

MAX_DIMENSIONS = 2


@dataclass(frozen=True)
class UnitGrid:
    """A grid of units, the last axis fastest.

    Examples
    --------
    >>> UnitGrid((3,), False, True, (0.5,), 1.0).weights().tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.5, 1.0]]
    """

    shape: tuple[int, ...]  # Units along each axis
    is_ring: bool  # Whether the last unit of each axis is beside the first
    is_directed: bool  # Whether units feed only those that are not before them along any axis
    lateral: tuple[float, ...]  # Weights at distances 1, 2, ...; 0 is no connection
    self_weight: float  # Weight of a unit's connection to itself; 0 is none

    @classmethod
    def from_block(cls, block: Mapping[str, Any], shape: tuple[int, ...], where: str) -> UnitGrid:
        """Read the keys of a study's block, `shape` apart; SubstrateError for others' values."""
        ring, directed = block.get("ring", False), block.get("directed", False)
        for name, flag in (("ring", ring), ("directed", directed)):
            if not isinstance(flag, bool):
                raise SubstrateError(f"{where}: {name}: expected true or false, got {quote(flag)}")
        given = block.get("lateral", 1.0)
        listed = list(given) if isinstance(given, list | tuple) else [given]
        lateral = tuple(_number(value, f"{where}: lateral") for value in listed)
        grid = cls(
            shape, ring, directed, lateral, _number(block.get("self", 0.0), f"{where}: self")
        )
        if not (grid.weights() != 0).any(axis=1).all():
            raise SubstrateError(
                f"{where}: self: expected a weight other than 0 where a unit has no other input, "
                f"got {quote(grid.self_weight)}"
            )
        return grid

    @property
    def n(self) -> int:
        """Number of units."""
        return math.prod(self.shape)

    def distances(self) -> Array:
        """Return (n, n) steps along the axes from each input to each unit, [unit, input].

        -1 where a unit is not fed: it is before the input in a directed grid.
        """
        places = np.stack(np.unravel_index(np.arange(self.n), self.shape), axis=1)
        ahead = places[:, None] - places[None]  # along each axis, [unit, input, axis]
        size = np.array(self.shape)
        if self.is_ring:
            ahead %= size
        if self.is_directed:
            return np.where((ahead >= 0).all(axis=2), ahead.sum(axis=2), -1)
        steps = np.minimum(ahead, size - ahead) if self.is_ring else np.abs(ahead)
        return np.asarray(steps.sum(axis=2))

    def weights(self) -> Array:
        """Return (n, n) the weight of each input of each unit, [unit, input]."""
        by_distance = np.array([self.self_weight, *self.lateral, 0.0])
        steps = self.distances()
        last = len(by_distance) - 1
        return np.asarray(by_distance[np.where(steps < 0, last, np.minimum(steps, last))])


def parse_shape(block: Mapping[str, Any], most: int, where: str) -> tuple[int, ...]:
    """Return the units along each axis: ``shape: [rows, columns]``, or ``[units]``."""
    given = block["shape"]
    listed = list(given) if isinstance(given, list | tuple) else [given]
    is_whole = all(isinstance(k, int) and not isinstance(k, bool) and k >= 1 for k in listed)
    if not is_whole or not 1 <= len(listed) <= MAX_DIMENSIONS or math.prod(listed) > most:
        raise SubstrateError(
            f"{where}: shape: expected one or two whole numbers, at most {most} units together, "
            f"got {quote(given)}"
        )
    return tuple(listed)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SubstrateError(f"{where}: expected finite numbers, got {quote(value)}")
    return float(value)
