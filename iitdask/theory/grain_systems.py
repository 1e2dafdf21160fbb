"""Systems of units of all grains as a stage: a cell is one system, a block a range of frames.

A frame is a set of places, and stands for a system for each choice of their truth tables. Tables
of all systems of a frame are contracted together; those of equal content are analysed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from iitdask.errors import InputError
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.grain_search import Frame, GrainSearch, MappedUnits, n_systems
from iitdask.model.macro_system import Member, MicroHistory, member_factors
from iitdask.model.substrate import Substrate
from iitdask.theory.small_systems import analyse_tables
from iitdask.theory.stage import Array, Grid, Region, Stage
from iitdask.theory.variables import variable

CONTRACTION_SECONDS = 5e-4  # Of one contraction: two for every unit of a frame
MAX_SYSTEMS = 1 << 24  # Of one stage: all that is known of them is kept in memory
TABLE_BYTES = 1 << 24  # Bytes of the tables that are contracted together


@dataclass(frozen=True, slots=True, eq=False)
class FrameCost:
    """Predicted seconds of a range of systems."""

    begins: Array  # (frames + 1,) first system of each frame
    before: Array  # (frames + 1,) seconds of all systems of earlier frames

    def __call__(self, region: Region) -> float:
        """Return the seconds of the range."""
        ends = np.interp([region[0].start, region[0].stop], self.begins, self.before)
        return float(ends[1] - ends[0])


def grain_stage(
    name: str, search: GrainSearch, places: Sequence[MappedUnits], frames: Sequence[Frame], cap: int
) -> Stage:
    """Return the stage that analyses all systems of frames, those of equal size together."""
    used = sorted({k for frame in frames for k in frame})
    rank = {k: j for j, k in enumerate(used)}
    members = [places[k].member for k in used]
    counts = [n_systems(frame, places) for frame in frames]
    total = sum(counts)
    if total > MAX_SYSTEMS:
        raise InputError(
            f"grains: expected at most {MAX_SYSTEMS} systems in one step, got {total}; choose "
            "fewer constituents, mappings families, or footprints"
        )
    begins = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    seconds = [_frame_seconds(frame, count) for frame, count in zip(frames, counts, strict=True)]
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
    tables = {f"tables{j}": member.tables for j, member in enumerate(members)}
    return Stage(
        name=name,
        grid=Grid(("system",), (int(begins[-1]),)),
        variables=(
            variable("phi", "float64", np.nan),
            variable("reason", "int64", -1),
        ),
        compute=fill_grains,
        inputs={"content": np.frombuffer(msgspec.json.encode(content), np.uint8), **tables},
        cost=FrameCost(begins.astype(np.float64), np.concatenate([[0.0], np.cumsum(seconds)])),
        prepare=prepare_grains,
        scratch=4 * TABLE_BYTES,
    )


def _frame_seconds(frame: Frame, count: int) -> float:
    n = len(frame)
    return 2 * n * CONTRACTION_SECONDS + count * (5e-6 + 4e-7 * 2.0**n + 1.2e-7 * 4.0**n)


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
    begins: Array  # (frames + 1,) first system of each frame
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
    counts = [np.prod([len(members[j].tables) for j in frame], dtype=np.int64) for frame in frames]
    begins = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return PreparedGrains(
        MicroHistory(substrate, window), tuple(members), frames, begins, content["cap"]
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


def _portions(
    prepared: PreparedGrains, f: int, low: int, high: int
) -> list[tuple[int, tuple[Array, Array, Array]]]:
    """Return tables and states of the systems of a frame from `low` to `high`, in portions."""
    members = [prepared.members[j] for j in prepared.frames[f]]
    n, rest = len(members), int(np.prod([len(m.tables) for m in members[1:]], dtype=np.int64))
    step = max(1, TABLE_BYTES // (32 * n * rest << n))
    found = []
    row, last = low // rest, -(-high // rest)
    while row < last:
        stop = min(row + step, last)
        own = [members[0]._replace(tables=members[0].tables[row:stop]), *members[1:]]
        offset = row * rest
        cut = slice(max(low - offset, 0), min(high - offset, (stop - row) * rest))
        effect, cause, code = frame_tables(prepared.history, own)
        found.append((offset + cut.start, (effect[cut], cause[cut], code[cut])))
        row = stop
    return found


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
