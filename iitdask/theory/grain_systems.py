"""Systems of units of all grains as a stage: a cell is one system, a block a range of frames.

A frame is a set of places, and stands for a system for each choice of their truth tables. Tables
of all systems of a frame are contracted together; those of equal content are analysed once. Where
there are too many systems to list, a cell is a range of systems of one frame: of each of the
largest phi it holds how many systems have it, and the first two. mathematics.md 14.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from math import prod
from typing import Any

import msgspec
import numpy as np

from iitdask.errors import InputError
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.grain_search import Frame, GrainSearch, MappedUnits, n_systems
from iitdask.model.macro_system import Member, MicroHistory, member_factors
from iitdask.model.substrate import Substrate
from iitdask.theory.reasons import Reason
from iitdask.theory.small_systems import analyse_tables
from iitdask.theory.stage import Array, Grid, Region, Stage
from iitdask.theory.variables import variable

CONTRACTION_SECONDS = 5e-4  # Of one contraction: two for every unit of a frame
MAX_SYSTEMS = 1 << 24  # Of one stage: all that is known of them is kept in memory
MAX_LISTED_SYSTEMS = 1 << 20  # Systems of a result that are listed; of more, ranges are
TABLE_BYTES = 1 << 24  # Bytes of the tables that are contracted together
RANGE_SYSTEMS = 1 << 15  # Systems of one range, at least
MAX_RANGE_SYSTEMS = 1 << 22
MAX_RANGES = 1 << 17  # About, of one stage
KEPT_VALUES = 32  # Largest phi of a range that are kept
EQUAL_DECIMALS = 13  # To which phi of a range are equal: finer than ties, coarser than rounding


@dataclass(frozen=True, slots=True, eq=False)
class FrameCost:
    """Predicted seconds of a range of cells."""

    begins: Array  # (frames + 1,) first cell of each frame
    before: Array  # (frames + 1,) seconds of all systems of earlier frames

    @classmethod
    def summed(cls, begins: Array, frames: Sequence[Frame], counts: Sequence[int]) -> FrameCost:
        """Predict the seconds of frames of so many systems."""
        seconds = list(starmap(_frame_seconds, zip(frames, counts, strict=True)))
        return cls(begins.astype(np.float64), np.concatenate([[0.0], np.cumsum(seconds)]))

    def __call__(self, region: Region) -> float:
        """Return the seconds of the range."""
        ends = np.interp([region[0].start, region[0].stop], self.begins, self.before)
        return float(ends[1] - ends[0])


def _frame_seconds(frame: Frame, count: int) -> float:
    n = len(frame)
    return 2 * n * CONTRACTION_SECONDS + count * (1e-5 + 8e-7 * 2.0**n + 2.4e-7 * 4.0**n)


def grain_stage(
    name: str, search: GrainSearch, places: Sequence[MappedUnits], frames: Sequence[Frame], cap: int
) -> Stage:
    """Return the stage that analyses all systems of frames, those of equal size together."""
    counts = [n_systems(frame, places) for frame in frames]
    if (total := sum(counts)) > MAX_SYSTEMS:
        raise InputError(
            f"grains: expected at most {MAX_SYSTEMS} systems to judge units of one size, got "
            f"{total}; choose fewer constituents, mappings families, or footprints"
        )
    begins = _begins(counts)
    return Stage(
        name=name,
        grid=Grid(("system",), (total,)),
        variables=(
            variable("phi", "float64", np.nan),
            variable("reason", "int64", -1),
        ),
        compute=fill_grains,
        inputs=_stage_inputs(search, places, frames, cap),
        cost=FrameCost.summed(begins, frames, counts),
        prepare=prepare_grains,
        scratch=4 * TABLE_BYTES,
    )


def range_size(total: int) -> int:
    """Return how many of so many systems a range has."""
    if total > MAX_RANGES * MAX_RANGE_SYSTEMS:
        raise InputError(
            f"grains: expected at most {MAX_RANGES * MAX_RANGE_SYSTEMS} systems, got {total}; "
            "choose fewer constituents, mappings families, or footprints"
        )
    size = RANGE_SYSTEMS
    while size * MAX_RANGES < total:
        size *= 2
    return size


def grain_range_stage(
    name: str,
    search: GrainSearch,
    places: Sequence[MappedUnits],
    frames: Sequence[Frame],
    cap: int,
    *,
    size: int,
) -> Stage:
    """Return the stage that analyses all systems of frames and keeps what ranges of them have."""
    counts = [n_systems(frame, places) for frame in frames]
    begins = range_begins(counts, size)
    kept = (("kept", KEPT_VALUES),)
    return Stage(
        name=name,
        grid=Grid(("range",), (int(begins[-1]),)),
        variables=(
            variable("phi", "float64", np.nan, kept),
            variable("n_systems", "int64", 0, kept),
            variable("first", "int64", -1, kept),
            variable("second", "int64", -1, kept),
            variable("n_possible", "int64", 0),
            variable("n_values", "int64", 0),
        ),
        compute=fill_grain_ranges,
        inputs=_stage_inputs(search, places, frames, cap, size),
        cost=FrameCost.summed(begins, frames, counts),
        prepare=prepare_grains,
        scratch=4 * TABLE_BYTES + 64 * size,
        grows_later_stages=False,
    )


def _begins(counts: Sequence[int]) -> Array:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def range_begins(counts: Sequence[int], size: int) -> Array:
    """(frames + 1,) first range of each frame, of so many systems at most."""
    return _begins([-(-count // size) for count in counts])


def _stage_inputs(
    search: GrainSearch,
    places: Sequence[MappedUnits],
    frames: Sequence[Frame],
    cap: int,
    size: int = 0,
) -> dict[str, Array]:
    used = sorted({k for frame in frames for k in frame})
    rank = {k: j for j, k in enumerate(used)}
    members = [places[k].member for k in used]
    content = {
        "factors": [_factor_content(factor) for factor in search.substrate.factors],
        "window": search.window,
        "members": [
            (member.units, member.updates, member.digits, member.background, member.name)
            for member in members
        ],
        "frames": [[rank[k] for k in frame] for frame in frames],
        "cap": cap,
    }
    if size:
        content["range"] = size
    tables = {f"tables{j}": member.tables for j, member in enumerate(members)}
    return {"content": np.frombuffer(msgspec.json.encode(content), np.uint8), **tables}


def _factor_content(factor: Factor | CountingFactor) -> dict[str, Any]:
    is_counting = isinstance(factor, CountingFactor)
    table = factor.probability_by_count if isinstance(factor, CountingFactor) else factor.table
    return {"parents": factor.parents, "counting": is_counting, "table": table.ravel().tolist()}


@dataclass(frozen=True, slots=True, eq=False)
class PreparedGrains:
    """What the systems of a stage are made from."""

    history: MicroHistory
    members: tuple[Member, ...]
    frames: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]  # Systems of each frame
    begins: Array  # (frames + 1,) first system, or range, of each frame
    size: int  # Systems of a range; 0 without ranges
    cap: int


def prepare_grains(inputs: Mapping[str, Array]) -> PreparedGrains:
    """Rebuild substrate, window and places from the arrays of a stage."""
    content = msgspec.json.decode(inputs["content"].tobytes())
    factors: list[Factor | CountingFactor] = []
    for each in content["factors"]:
        parents, flat = tuple(each["parents"]), np.array(each["table"])
        if each["counting"]:
            factors.append(CountingFactor(parents, flat.reshape(-1, 2)))
        else:
            factors.append(Factor(parents, flat.reshape((2,) * (len(parents) + 1))))
    n = len(factors)
    labels = tuple(f"U{k}" for k in range(n))
    substrate = Substrate(tuple(factors), np.ones((n, n), np.bool_), (2,) * n, labels)
    members = []
    for j, (units, updates, digits, background, name) in enumerate(content["members"]):
        places = tuple((time, unit) for time, unit in digits)
        tables = inputs[f"tables{j}"]
        members.append(Member(tuple(units), updates, places, tables, tuple(background), name))
    window = tuple(tuple(state) for state in content["window"])
    frames = tuple(tuple(frame) for frame in content["frames"])
    counts = tuple(prod(len(members[j].tables) for j in frame) for frame in frames)
    size = content.get("range", 0)
    return PreparedGrains(
        history=MicroHistory(substrate, window),
        members=tuple(members),
        frames=frames,
        counts=counts,
        begins=range_begins(counts, size) if size else _begins(counts),
        size=size,
        cap=content["cap"],
    )


def fill_grains(prepared: PreparedGrains, region: Region) -> dict[str, Array]:
    """Analyse a range of systems; reason is that of an unreachable state where it is impossible."""
    begin, stop = region[0].start, region[0].stop
    first = int(np.searchsorted(prepared.begins, begin, side="right")) - 1
    by_size: dict[int, list[tuple[Array, Array, Array, Array]]] = {}
    for f in range(first, len(prepared.frames)):
        start, end = int(prepared.begins[f]), int(prepared.begins[f + 1])
        if start >= stop:
            break
        low, high = max(begin, start) - start, min(stop, end) - start
        for at, portion in _portions(prepared, f, low, high):
            cells = start + at - begin + np.arange(len(portion[2]))
            by_size.setdefault(len(prepared.frames[f]), []).append((cells, *portion))
    phi, reason = np.full(stop - begin, np.nan), np.full(stop - begin, -1)
    for parts in by_size.values():
        cells, effect, cause, code = (np.concatenate(each) for each in zip(*parts, strict=True))
        values, numbers = _analyse_distinct(effect, cause, code, prepared.cap)
        phi[cells], reason[cells] = values[:, 0], numbers[:, 0]
    return {"phi": phi, "reason": reason}


def possible_phi(phi: Array, reason: Array) -> Array:
    """Return phi, nan of systems that cannot be in their state."""
    return np.asarray(np.where(reason & int(Reason.UNREACHABLE) != 0, np.nan, phi))


def fill_grain_ranges(prepared: PreparedGrains, region: Region) -> dict[str, Array]:
    """Analyse some ranges of systems, and keep the largest phi of each with who has it."""
    rows = [_summarised(_range_phi(prepared, r)) for r in range(region[0].start, region[0].stop)]
    names = ("phi", "n_systems", "first", "second", "n_possible", "n_values")
    return {name: np.stack(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)}


def _range_phi(prepared: PreparedGrains, number: int) -> Array:
    """Return phi of the systems of a range, nan where one cannot be in its state."""
    f = int(np.searchsorted(prepared.begins, number, side="right")) - 1
    low = (number - int(prepared.begins[f])) * prepared.size
    high = min(low + prepared.size, prepared.counts[f])
    out = np.empty(high - low)
    for at, portion in _portions(prepared, f, low, high):
        values, numbers = _analyse_distinct(*portion, prepared.cap)
        out[at - low : at - low + len(values)] = possible_phi(values[:, 0], numbers[:, 0])
    return out


def _summarised(phi: Array) -> tuple[Array, ...]:
    """Return the largest phi, how many systems have each, the first two, and two totals.

    The totals are those of possible systems and of different phi.
    """
    rounded = np.round(phi, EQUAL_DECIMALS)
    possible = np.flatnonzero(~np.isnan(phi))
    values, at, counts = np.unique(-rounded[possible], return_index=True, return_counts=True)
    kept = min(len(values), KEPT_VALUES)
    largest = np.full(KEPT_VALUES, np.nan)
    number, first, second = np.zeros(KEPT_VALUES, np.int64), *np.full((2, KEPT_VALUES), -1)
    first[:kept], number[:kept] = possible[at[:kept]], counts[:kept]
    largest[:kept] = phi[first[:kept]] + 0.0
    for k in np.flatnonzero(number > 1):
        begin = int(first[k]) + 1
        second[k] = begin + int(np.argmax(rounded[begin:] == -values[k]))
    totals = np.array([len(possible), len(values)])
    return largest, number, first, second, totals[0], totals[1]


def _portions(
    prepared: PreparedGrains, f: int, low: int, high: int
) -> Iterator[tuple[int, tuple[Array, Array, Array]]]:
    """Yield tables and states of the systems of a frame from `low` to `high`, in portions."""
    members = [prepared.members[j] for j in prepared.frames[f]]
    n, counts = len(members), [len(member.tables) for member in members]
    for start, box in _boxes(counts, low, high, max(1, TABLE_BYTES // (32 * n << n))):
        own = [
            member._replace(tables=member.tables[part])
            for member, part in zip(members, box, strict=True)
        ]
        effect, cause, code = frame_tables(prepared.history, own)
        cut = slice(max(low - start, 0), min(high - start, len(code)))
        yield start + cut.start, (effect[cut], cause[cut], code[cut])


def _boxes(
    counts: Sequence[int], low: int, high: int, most: int
) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield boxes of at most `most` cells, in C order without gaps, that cover `low` to `high`.

    Each comes with the number of its first cell.

    Examples
    --------
    >>> [start for start, _ in _boxes([5, 4], 6, 13, 8)], [s for s, _ in _boxes([5, 4], 6, 13, 3)]
    ([4, 12], [6, 8, 11, 12])
    """
    rest = prod(counts[1:])
    row, last = low // rest, -(-high // rest)
    if rest <= most:
        step, others = most // rest, tuple(slice(0, count) for count in counts[1:])
        for begin in range(row, last, step):
            yield begin * rest, (slice(begin, min(begin + step, last)), *others)
        return
    for at in range(row, last):
        start = at * rest
        inner = _boxes(counts[1:], max(low - start, 0), min(high - start, rest), most)
        for begin, box in inner:
            yield start + begin, (slice(at, at + 1), *box)


def frame_tables(history: MicroHistory, members: Sequence[Member]) -> tuple[Array, Array, Array]:
    """Return tables and current states of all systems of a frame.

    Parameters
    ----------
    history : the substrate in its window
    members : n places, of T_0, T_1, ... truth tables

    Returns
    -------
    tuple, effect and cause table ``(T_0 T_1 ..., 2**n, 2 n)``, and state ``(T_0 T_1 ...,)``; the
    last place varies fastest

    References
    ----------
    mathematics.md 14.2, Eq. (14.1).
    """
    n, counts = len(members), [len(member.tables) for member in members]
    shape = (*counts, *(2 for _ in range(n)))
    effect, cause = np.empty((2, *shape, n, 2))
    code = np.zeros(counts, np.int64)
    for own, member in enumerate(members):
        for out, side in zip((effect, cause), member_factors(history, members, own), strict=True):
            out[..., own, :] = _spread(side.table, side.parents, own, counts)
        at = tuple(
            history.window[len(history.window) - 1 - member.updates + time][unit]
            for time, unit in member.digits
        )
        values = np.moveaxis(member.tables, 0, -1)[at].astype(np.int64)
        code += (values << own).reshape([-1 if j == own else 1 for j in range(n)])
    systems = code.size
    rows = (systems, 1 << n, 2 * n)
    return effect.reshape(rows), cause.reshape(rows), code.ravel()


def _spread(table: Array, parents: Sequence[int], own: int, counts: Sequence[int]) -> Array:
    """Return a table with axes for the truth tables and the states of all places.

    States of the first place come last: a row is a little-endian number.
    """
    n = len(counts)
    stacked = [own, *(k for k in parents if k != own)]
    tables = np.argsort(stacked).tolist()
    states = [len(stacked) + j for j in reversed(range(len(parents)))]
    moved = table.transpose([*tables, *states, table.ndim - 1])
    sizes = [counts[k] if k in stacked else 1 for k in range(n)]
    rows = [2 if k in parents else 1 for k in reversed(range(n))]
    return moved.reshape([*sizes, *rows, 2])


def _analyse_distinct(effect: Array, cause: Array, code: Array, cap: int) -> tuple[Array, Array]:
    """Analyse systems of one size, those of equal tables and states once."""
    count = len(code)
    flat = [effect.reshape(count, -1) + 0.0, cause.reshape(count, -1) + 0.0, code[:, None]]
    rows = np.ascontiguousarray(np.concatenate(flat, axis=1))
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    values, numbers = analyse_tables(effect[first], cause[first], code[first], cap)
    return values[back.ravel()], numbers[back.ravel()]
