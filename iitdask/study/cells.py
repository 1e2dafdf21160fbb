"""From the axes of a sweep to its cells, and from cells to what has to be computed once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from iitdask.study.scheme import Scheme, scheme_of
from iitdask.theory.points import SMALL, Points, takes_small
from iitdask.theory.swept import Heavy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iitdask.study.axes import Axis
    from iitdask.study.grounds import Grounds
    from iitdask.theory.options import Theory

__all__ = ["Cells", "cells_of"]


@dataclass(frozen=True, eq=False)
class Cells:
    """A sweep laid out: the cells of the cube, and the points they share."""

    computes: tuple[str, ...]
    """What is computed."""
    theory: str | None
    """Under which theory, unless an axis says so."""
    dims: dict[str, int]
    """Dimensions of the cube and their lengths."""
    coords: dict[str, tuple[str, list[Any]]]
    """Coordinates: dimension and labels."""
    point: NDArray[Any]
    """(cells,) number of the point in each cell, -1 where there is none."""
    problems: dict[int, str]
    """Why there is none; all problems of a kind share a text."""
    problem: NDArray[Any]
    """(cells,) number of the problem, -1 where there is none."""
    points: Mapping[str, Points]
    """The small points, by computation; they come first, one computation after the other."""
    heavy: tuple[Heavy, ...]
    """The others."""
    digests: NDArray[Any]
    """(points, 2) uint64: what tells the content of a point from that of others."""
    n_units: NDArray[Any]
    """(cells,) units of the candidate system, -1 where unknown."""
    frequency: NDArray[Any] | None
    """(cells,) share of a trajectory's steps, where states come from one."""

    @property
    def n_small(self) -> int:
        """How many small points there are."""
        return sum(map(len, self.points.values()))


def cells_of(
    compute: str,
    *,
    axes: Sequence[Axis],
    grounds: Grounds,
    fields: Mapping[str, Any],
    theory: Any,
    where: str,
    apart: bool = False,
) -> Cells:
    """Lay out the cells of a sweep and find what has to be computed.

    Parameters
    ----------
    compute
        What is computed where no axis says so.
    axes
        The axes.
    grounds
        All substrates.
    fields
        What is asked of them where no axis says so; None means not given.
    theory
        Theory where no axis says so; None: the first that defines a computation.
    where
        What to call the study in messages.
    apart
        Whether every point gets a recipe of its own, small or not.

    Notes
    -----
    Cells share a point when they agree in all that decides its numbers: the tables of the
    substrate, state, candidate, theory and computation. Systems that are equal only up to
    renaming units are computed apart. Where ties are broken in the published order, which
    goes by the numbers of units, they can differ in more than rounding; where they cannot,
    floats are still added in the order of the units, so that last bits would be those of
    whichever came first, and a cube that has grown would not be the one computed at once.
    """
    scheme = scheme_of(
        compute, axes=axes, grounds=grounds, fields=fields, theory=theory, where=where
    )
    texts: dict[int, str] = {}
    number = scheme.ground()
    problem = np.full(len(number), -1)
    _mark(problem, texts, [(number == g, text) for g, text in sorted(grounds.problems.items())])
    _mark(problem, texts, scheme.undefined())
    kind = grounds.kind[number]
    for name, column in scheme.columns.items():
        at, takes = scheme.along(name), scheme.takes(name)
        found = [
            ((kind == k) & (at == v) & takes, text) for (k, v), text in column.problems.items()
        ]
        _mark(problem, texts, found)
    point = np.full(len(number), -1)
    light = np.zeros(len(number), bool)
    points: dict[str, Points] = {}
    digests: list[NDArray[Any]] = []
    count = 0
    for each in () if apart else SMALL:
        small = _small(scheme, each, number, kind, problem)
        if small.any():
            points[each], point[small], own = _unique(scheme, each, number, kind, small)
            point[small] += count
            count += len(points[each])
            digests.append(own)
            light |= small
    heavy, own = _heavy(scheme, number, (problem < 0) & ~light, point, count)
    return Cells(
        scheme.computes,
        scheme.said_theory(),
        scheme.dims,
        scheme.coords(),
        point,
        texts,
        problem,
        points,
        heavy,
        np.concatenate([*digests, own]),
        _sizes(scheme, kind),
        _frequency(scheme, number),
    )


def _sizes(scheme: Scheme, kind: NDArray[Any]) -> NDArray[Any]:
    """Units of the candidate of every cell, -1 where unknown."""
    if "units" not in scheme.columns:
        return np.full(len(kind), -1)
    masks = scheme.columns["units"].numbers
    mask = np.where(kind >= 0, masks[kind, scheme.along("units")], -1)
    known = (mask > 0) & scheme.takes("units")
    return np.where(known, np.bitwise_count(np.maximum(mask, 0)).astype(np.int64), -1)


def _frequency(scheme: Scheme, number: NDArray[Any]) -> NDArray[Any] | None:
    """Share of the steps of a trajectory, of the first axis that comes from one."""
    for name, column in scheme.columns.items():
        if column.frequency is not None:
            found = column.frequency[number, scheme.along(name)]
            return np.where(scheme.takes(name), found, np.nan)
    return None


def _mark(
    problem: NDArray[Any], texts: dict[int, str], found: Sequence[tuple[NDArray[Any], str]]
) -> None:
    """Note a problem in the cells it is about, unless they have one."""
    known = {text: number for number, text in texts.items()}
    for where, text in found:
        fresh = where & (problem < 0)
        if fresh.any():
            problem[fresh] = known.setdefault(text, len(known))
    texts.update({number: text for text, number in known.items()})


def _small(
    scheme: Scheme,
    compute: str,
    number: NDArray[Any],
    kind: NDArray[Any],
    problem: NDArray[Any],
) -> NDArray[Any]:
    """Cells of a computation whose point is a whole small system for the kernels."""
    out = np.zeros(len(number), bool)
    if compute not in scheme.computes or scheme.asked(compute)[1]:
        return out
    fitting = np.array([takes_small(compute, options) for options in scheme.theories])
    masks = scheme.columns["units"].numbers
    mask = np.where(kind >= 0, masks[kind, scheme.along("units")], 0)
    wanted = fitting[scheme.theory()] & scheme.is_computed(compute)
    wanted &= (problem < 0) & (scheme.grounds.place[number] >= 0)
    for k, shape in enumerate(scheme.grounds.kinds):
        levels = np.array(shape.levels, np.int64)
        here = (kind == k) & wanted
        for own in np.unique(mask[here]).tolist():
            inside = levels[(own >> np.arange(len(levels)) & 1).astype(bool)]
            if Points.is_light(inside, compute):
                out |= here & (mask == own)
    return out


def _unique(
    scheme: Scheme,
    compute: str,
    number: NDArray[Any],
    kind: NDArray[Any],
    small: NDArray[Any],
) -> tuple[Points, NDArray[Any], NDArray[Any]]:
    """Small points, each content once and sorted by shape; which each cell has; digests."""
    batch = scheme.grounds.batch
    content = batch.digests()
    _, first, same = np.unique(content, axis=0, return_index=True, return_inverse=True)
    cells = np.flatnonzero(small)
    columns = scheme.columns
    keys = np.column_stack(
        [
            same.ravel()[scheme.grounds.place[number[cells]]],
            columns["state"].numbers[kind[cells], scheme.along("state")[cells]],
            columns["units"].numbers[kind[cells], scheme.along("units")[cells]],
            scheme.theory()[cells],
        ]
    )
    rows, back = _distinct_rows(keys)
    caps = np.array([_cap(options) for options in scheme.theories])
    substrate = first[rows[:, 0]]
    points = Points(batch, substrate, rows[:, 1], rows[:, 2], caps[rows[:, 3]])
    order = np.lexsort((rows[:, 1], rows[:, 0], *points.own_levels().T[::-1]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    heads = [f"{compute} {_options(options)}".encode() for options in scheme.theories]
    rows, substrate = rows[order], substrate[order]
    digests = np.empty((len(order), 2), np.uint64)
    raw = np.ascontiguousarray(rows[:, 1:3])
    for p, (s, t) in enumerate(zip(substrate.tolist(), rows[:, 3].tolist(), strict=True)):
        state = hashlib.blake2b(heads[t], digest_size=16)
        state.update(content[s])
        state.update(raw[p])
        digests[p] = np.frombuffer(state.digest(), np.uint64)
    return points.at(order), place[back], digests


def _distinct_rows(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct rows of whole numbers, sorted, and where each row went."""
    spans = [int(column.max()) + 1 for column in keys.T]
    if math.prod(spans) < 2**62:
        packed = np.zeros(len(keys), np.int64)
        for column, span in zip(keys.T, spans, strict=True):
            packed = packed * span + column
        _, first, back = np.unique(packed, return_index=True, return_inverse=True)
    else:
        _, first, back = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return keys[first], back.ravel()


def _cap(options: Theory) -> int:
    given = msgspec.to_builtins(options)
    if given["name"] != "iit4-2026":
        return 0
    return 2 if given["differentiation"] == "specified" else 1


def _options(options: Theory) -> str:
    return json.dumps(msgspec.to_builtins(options), sort_keys=True)


def _heavy(
    scheme: Scheme,
    number: NDArray[Any],
    which: NDArray[Any],
    point: NDArray[Any],
    count: int,
) -> tuple[tuple[Heavy, ...], NDArray[Any]]:
    """Points that take a recipe of their own; numbers them in ``point``, after the small ones."""
    found: dict[bytes, Heavy] = {}
    numbers: dict[bytes, int] = {}
    along = {name: scheme.along(name) for name in (*scheme.columns, "compute")}
    theory = scheme.theory()
    for cell in np.flatnonzero(which).tolist():
        compute = scheme.computes[int(along["compute"][cell])]
        columns, constant = scheme.asked(compute)
        fields = {name: scheme.constant[name] for name in constant}
        for name in columns:
            fields[name] = scheme.columns[name].raw[int(along[name][cell])]
        ground = int(number[cell])
        options = scheme.theories[int(theory[cell])]
        text = json.dumps([compute, _options(options), fields], sort_keys=True, default=str)
        key = hashlib.blake2b(
            f"{scheme.grounds.fingerprint(ground)} {text}".encode(), digest_size=16
        ).digest()
        if key not in found:
            numbers[key] = count + len(found)
            fields = {name: value for name, value in fields.items() if value is not None}
            substrate = scheme.grounds.substrate(ground)
            found[key] = Heavy(key.hex(), substrate, fields, options, compute)
        point[cell] = numbers[key]
    digests = np.array([np.frombuffer(key, np.uint64) for key in found], np.uint64)
    return tuple(found.values()), digests.reshape(-1, 2)
