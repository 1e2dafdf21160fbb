"""Search for the deterministic tables of a few units with the largest phi_s, up to symmetry.

A table is numbered by its bits: bit ``n s + i`` is the next value of unit i after state s, states
little-endian. Tables that differ only by the names of units, or of their values, have equal phi_s:
one of each class is analysed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import NamedTuple

import numpy as np
import xarray as xr

from iitdask.errors import InputError
from iitdask.model.labels import decode_state, state_text
from iitdask.model.search_space import SearchSpace
from iitdask.theory.options import IIT4, IIT42026, Theory
from iitdask.theory.small_systems import analyse_tables
from iitdask.theory.stage import Array, Grid, Recipe, Region, Stage, uniform_cost
from iitdask.theory.variables import make_dataset, variable

PART_BITS = 12  # Bits of a table that are moved together
TABLES_AT_ONCE = 1 << 15
SECONDS_PER_TABLE = 4e-7  # Of comparing a table with those of its class
SECONDS_PER_SYSTEM = 2e-5  # Of analysing a table in one state


class Symmetry(NamedTuple):
    """What a renaming of units and of their values makes of tables."""

    parts: Array  # (P, 2**PART_BITS) int64 what becomes of each part of a table's bits
    flips: int  # Bits that are turned round


def table_symmetries(n: int) -> list[Symmetry]:
    """Return the n! 2**n renamings of units and values, that which changes nothing first."""
    states, bits = np.arange(1 << n), n << n
    found = []
    for order in permutations(range(n)):
        # Unit i becomes unit order[i].
        moved = np.zeros_like(states)
        for i in range(n):
            moved |= (states >> i & 1) << order[i]
        for mask in range(1 << n):
            target = np.empty(bits, np.int64)
            flips = 0
            for s in range(1 << n):
                for i in range(n):
                    target[n * s + i] = n * int(moved[s] ^ mask) + order[i]
            for s in range(1 << n):
                flips |= mask << n * s
            found.append(Symmetry(_parts(target), flips))
    return found


def _parts(target: Array) -> Array:
    """Return what becomes of each part of a table's bits if bit k moves to bit ``target[k]``."""
    values = np.arange(1 << PART_BITS)
    parts = []
    for begin in range(0, len(target), PART_BITS):
        moved = np.zeros(len(values), np.int64)
        for k, place in enumerate(target[begin : begin + PART_BITS].tolist()):
            moved |= (values >> k & 1) << place
        parts.append(moved)
    return np.array(parts)


def renamed(tables: Array, symmetry: Symmetry) -> Array:
    """Return the numbers of tables after a renaming."""
    out = np.full(len(tables), symmetry.flips, np.int64)
    for k, part in enumerate(symmetry.parts):
        out ^= part[tables >> PART_BITS * k & (1 << PART_BITS) - 1]
    return out


def table_values(tables: Array, n: int) -> Array:
    """Return (K, 2**n, n) next values of the units of tables by number."""
    return np.asarray(tables[:, None, None] >> np.arange(n << n).reshape(1 << n, n) & 1)


def search_tables(target: SearchSpace, options: Theory) -> Recipe:
    """Rank all deterministic tables of units by phi_s, its maximum over states.

    Parameters
    ----------
    target : the space, at most three units
    options : the theory

    Returns
    -------
    DataTree, ``/ranking`` with dim ``rank``

    References
    ----------
    docs/mathematics.md 35.
    """
    levels = target.substrate.levels
    n = len(levels)
    version = theory_version(options)
    (marked,) = yield (_classes_stage(n),)
    tables = np.flatnonzero(marked["is_first"].values)
    (filled,) = yield (_phi_stage(tables, n, version),)
    phi, state = filled["phi"].values, filled["best_state"].values
    order = np.lexsort((tables, -phi))[: target.search["top"]]
    chosen = tables[order]
    images = np.stack([renamed(chosen, symmetry) for symmetry in table_symmetries(n)])
    sizes = [len(np.unique(column)) for column in images.T]
    texts = [state_text(decode_state(int(code), levels)) for code in state[order]]
    values = {
        "phi": (("rank",), phi[order]),
        "state": (("rank",), np.array(texts, object)),
        "table": (("rank",), chosen),
        "tpm": (("rank", "row", "unit"), table_values(chosen, n).astype(np.int8)),
        "class_size": (("rank",), np.array(sizes, np.int64)),
    }
    attrs = {
        "n_tables": 1 << (n << n),
        "n_classes": len(tables),
        "n_symmetries": len(images),
        "n_irreducible": int((phi > 0).sum()),
        "exhaustive": True,
        "maximise": "phi",
    }
    return xr.DataTree.from_dict({"/ranking": make_dataset(values, attrs)})


def theory_version(options: Theory) -> int:
    """Return the version of IIT 4.0, see :class:`~iitdask.theory.small_systems.SmallSystems`."""
    if isinstance(options, IIT4 | IIT42026) and options.system_partitions != "all":
        raise InputError("system_partitions: expected all for compute 'search', got bipartition")
    if not isinstance(options, IIT42026):
        return 0
    return 2 if options.differentiation == "specified" else 1


def _classes_stage(n: int) -> Stage:
    return Stage(
        name="classes",
        grid=Grid(("table",), (1 << (n << n),)),
        variables=(variable("is_first", "bool", False),),
        compute=mark_first_tables,
        inputs={"n_units": np.array([n])},
        cost=uniform_cost(SECONDS_PER_TABLE),
        size_is_known=True,
    )


def mark_first_tables(inputs: Mapping[str, Array], region: Region) -> Mapping[str, Array]:
    """Mark the tables that have the smallest number of their class."""
    symmetries = table_symmetries(int(inputs["n_units"][0]))
    begin, end = region[0].start, region[0].stop
    is_first = np.ones(end - begin, np.bool_)
    for first in range(begin, end, TABLES_AT_ONCE):
        tables = np.arange(first, min(first + TABLES_AT_ONCE, end))
        for symmetry in symmetries:
            tables = tables[renamed(tables, symmetry) >= tables]
        part = is_first[first - begin : first - begin + TABLES_AT_ONCE]
        part[:] = False
        part[tables - first] = True
    return {"is_first": is_first}


def _phi_stage(tables: Array, n: int, cap: int) -> Stage:
    return Stage(
        name="tables",
        grid=Grid(("table",), (len(tables),)),
        variables=(variable("phi", "float64", np.nan), variable("best_state", "int64", -1)),
        compute=fill_largest_phi,
        inputs={"tables": tables, "about": np.array([n, cap])},
        cost=uniform_cost(SECONDS_PER_SYSTEM * 2**n),
    )


def fill_largest_phi(inputs: Mapping[str, Array], region: Region) -> Mapping[str, Array]:
    """Compute the largest phi_s over states of a range of tables, and the first such state."""
    n, cap = inputs["about"].tolist()
    states = 1 << n
    tables = inputs["tables"][region[0]]
    phi, best = np.zeros(len(tables)), np.zeros(len(tables), np.int64)
    for first in range(0, len(tables), TABLES_AT_ONCE):
        part = slice(first, first + TABLES_AT_ONCE)
        on = table_values(tables[part], n).astype(np.float64)
        both = np.stack([1.0 - on, on], axis=-1).reshape(len(on), states, 2 * n)
        each = np.repeat(both, states, axis=0)
        codes = np.tile(np.arange(states), len(on))
        values, _ = analyse_tables(each, each, codes, cap)
        found = np.nan_to_num(values[:, 0]).reshape(-1, states)  # nan of states without a past
        best[part] = found.argmax(axis=1)
        phi[part] = found.max(axis=1)
    return {"phi": phi, "best_state": best}
