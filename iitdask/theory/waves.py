"""Mechanisms too heavy for one block: their effect purviews in shares, searched in two waves.

The first wave searches an eighth of the shares. The second takes the phi found there as known,
which leaves little of the others: together they often take less than the undivided search, which
meets its best purview late. What comes out is the same to the bit, but for the counts of what was
searched on the way. Causes stay whole: a scan that serves many mechanisms at once finds most of
what they need.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.codes import popcounts
from iitdask.kernels.pairs import Tables
from iitdask.kernels.purviews import tolerance
from iitdask.kernels.shares import EffectShares
from iitdask.model.system import System
from iitdask.theory.base import Answer, Grid, Region, Stage
from iitdask.theory.mechanisms import EFFECT, mice_stage
from iitdask.theory.tables import prepare_tables, table_inputs
from iitdask.theory.vocabulary import variable

__all__ = ["SPLIT", "Split", "find_mice", "heavy_effects", "parts_of"]

Array = NDArray[Any]
Prepared = tuple[Tables, Array, Array]
PAIR = 3e-8
"""Seconds that a hard search takes for every pair of a part of the mechanism and a purview."""
FIRST = 8
"""One in so many shares is searched in the first wave."""
MOST_GROUPS = 6
"""Groups of units that purviews are told apart by: the shares are at most 64."""
FOUND = ("phi", "ties", "tied_purviews", "searched", "tables", "nodes")


@dataclass(frozen=True, slots=True)
class Split:
    """Which mechanisms are divided, and how finely; the answer does not depend on it."""

    units: int = 14
    """Units of a system from which mechanisms may be divided."""
    seconds: float = 10.0
    """Seconds from which a mechanism is, if its search is hard; a share takes half of it."""


SPLIT = Split()


def heavy_effects(system: System, split: Split) -> tuple[Array, Array]:
    """Mechanisms whose effects are searched in shares, and the seconds that may take."""
    n = system.n
    if n < split.units:
        return np.empty(0, np.int64), np.empty(0)
    seconds = PAIR * 2.0 ** (popcounts(n) + n)
    heavy = np.flatnonzero(seconds >= split.seconds)
    heavy = heavy[heavy > 0].astype(np.int64)
    return heavy, seconds[heavy]


def parts_of(system: System, split: Split) -> tuple[Array, Array]:
    """Shares of heavy mechanisms: (p, 4) int64 direction, mechanism, groups, share; their seconds.

    From three units on, every share has four purviews at least, the empty one counted.
    """
    heavy, seconds = heavy_effects(system, split)
    most = min(MOST_GROUPS, max(system.n - 2, 1))
    rows, costs = [], []
    for mechanism, cost in zip(heavy.tolist(), seconds.tolist(), strict=True):
        wished = 2 * cost / split.seconds if split.seconds > 0 else 2.0**most
        groups = min(most, max(1, int(np.ceil(np.log2(wished)))))
        rows += [(EFFECT, mechanism, groups, share) for share in range(1 << groups)]
        costs += [cost / (1 << groups)] * (1 << groups)
    return np.array(rows, np.int64).reshape(-1, 4), np.array(costs)


def find_mice(
    system: System, split: Split | None = None
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Answer]:
    """Best phi and tied purviews of every mechanism; the stage ``mice``, with what was divided."""
    parts, costs = parts_of(system, split or SPLIT)
    if not len(parts):
        (mice,) = yield (mice_stage(system),)
        return mice
    heavy, row = np.unique(parts[:, 1], return_inverse=True)
    first = parts[:, 3] < np.maximum((1 << parts[:, 2]) // FIRST, 1)
    later = ~first
    (opened,) = yield (wave(system, "waves/first", parts[first], costs[first]),)
    known = largest(opened["phi"].values, row[first], len(heavy))
    stage = wave(system, "waves/later", parts[later], costs[later], known[row[later]])
    (rest,) = yield (stage,)
    (mice,) = yield (mice_stage(system, heavy),)  # not beside it: two tables are large
    found = {
        name: np.concatenate([opened[name].values, rest[name].values])
        for name in (*FOUND, "lowest")
    }
    parts, costs, row = (np.concatenate([x[first], x[later]]) for x in (parts, costs, row))
    best = largest(found["phi"], row, len(heavy))
    doubtful = straddling(found, best[row])
    if doubtful.any():
        some, known = costs[doubtful], best[row[doubtful]]
        (again,) = yield (wave(system, "waves/again", parts[doubtful], some, known),)
        for name in ("phi", "ties", "lowest", "tied_purviews"):
            found[name][doubtful] = again[name].values
    return joined(mice, found, heavy, row)


def wave(
    system: System, name: str, parts: Array, costs: Array, known: Array | None = None
) -> Stage:
    """Shares that are searched side by side, and the phi known of their mechanisms before."""
    total = np.concatenate([[0.0], np.cumsum(costs)])
    size = 1 << system.n
    return Stage(
        name=name,
        grid=Grid(("part",), (len(parts),)),
        fills=(
            variable("phi", "float64", np.nan),
            variable("ties", "int64", 0),
            variable("lowest", "float64", np.nan),
            variable("tied_purviews", "uint8", 0, (("byte", (size + 7) // 8),)),
            variable("searched", "int64", 0),
            variable("tables", "int64", 0),
            variable("nodes", "int64", 0),
        ),
        compute=fill_wave,
        inputs={
            **table_inputs(system),
            "parts": parts,
            "known": np.zeros(len(parts)) if known is None else known,
        },
        prepare=prepare_wave,
        cost=lambda region: float(total[region[0].stop] - total[region[0].start]),
        scratch=8 * (int(np.prod([k + 1 for k in system.levels])) + (20 + 4 * system.n) * size),
        leads_on=False,
        members={"part": parts},
    )


def prepare_wave(inputs: Mapping[str, Array]) -> Prepared:
    """Tables, the shares and what is known."""
    return prepare_tables(inputs, causes=False), inputs["parts"], inputs["known"]


def fill_wave(prepared: Prepared, region: Region) -> dict[str, Array]:
    """Search a range of shares."""
    tables, parts, known = prepared
    search, own = EffectShares(tables), region[0]
    best = [
        search.best(mechanism, groups, share, before)
        for (_, mechanism, groups, share), before in zip(
            parts[own].tolist(), known[own].tolist(), strict=True
        )
    ]
    return {
        "phi": np.array([each.phi for each in best]),
        "ties": np.array([each.ties for each in best], np.int64),
        "lowest": np.array([each.lowest for each in best]),
        "tied_purviews": np.stack([each.bits for each in best]),
        "searched": np.array([each.searched for each in best], np.int64),
        "tables": np.array([each.nodes[0] for each in best], np.int64),
        "nodes": np.array([each.nodes[1] for each in best], np.int64),
    }


def largest(phi: Array, row: Array, count: int) -> Array:
    """Largest phi of every mechanism over its shares; 0 where none is found."""
    best = np.zeros(count)
    np.maximum.at(best, row, np.nan_to_num(phi))
    return best


def reach(best: Array) -> Array:
    """Smallest phi that ties with the best."""
    return np.asarray(best - np.array([tolerance(each) for each in best.tolist()]))


def straddling(found: Mapping[str, Array], best: Array) -> Array:
    """Shares of whose tied purviews some tie with the best of all, and some do not.

    That takes two purviews apart by less than the tolerance, and by more than rounding.
    """
    least = reach(best)
    return np.asarray((found["phi"] >= least) & (found["lowest"] < least))


def joined(mice: Answer, found: Mapping[str, Array], heavy: Array, row: Array) -> Answer:
    """Put the effects of divided mechanisms where those of the others are."""
    best = largest(found["phi"], row, len(heavy))
    tied = found["lowest"] >= reach(best)[row]  # nan where nothing reached what was known
    whole = dict(mice)
    for name in FOUND:
        values = mice[name].values.copy()
        if name == "phi":
            values[EFFECT, heavy] = best
        else:
            sums = np.zeros_like(values[EFFECT, heavy])
            add = np.bitwise_or if name == "tied_purviews" else np.add
            own = tied if name.startswith("tie") else slice(None)
            add.at(sums, row[own], found[name][own])
            values[EFFECT, heavy] = sums
        whole[name] = mice[name].copy(data=values)
    return whole
