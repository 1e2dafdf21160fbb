"""Evolved animats: their networks and lives, from the files along a line of descent.

For every recorded ancestor there are, after a common beginning and the generation it was born in,
``_FullLogicTable.txt`` (all states, and the state after each), ``_LifetimeLogicTable.txt`` (the
states before and after each step of its life) and ``_EdgeList.txt`` (a connection a line, from and
to). A table has a head, then the values of all units, an empty column, and those one step later.
Source: wmayner/animats, functions ``saveLogicTable``, ``saveEdgeList``, ``makeFullAnalysis``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.model.documents import path_text, read_file
from iitdask.model.substrate import Substrate
from iitdask.types import Array

KINDS = ("FullLogicTable", "LifetimeLogicTable", "EdgeList")
FILE_NAME = re.compile(rf"(?P<run>.*)_(?P<born>\d+)_(?P<kind>{'|'.join(KINDS)})\.txt")
MAX_UNITS = 20  # Of an animat, whose table has a row for every state


@dataclass(frozen=True, eq=False)
class Animat:
    """One ancestor of a line of descent."""

    run: str  # What the names of its files begin with
    born: int  # Generation it was born in
    substrate: Substrate | None  # Its network; None without its table
    before: Array  # (T, N) int64 states along its life; (0, 0) without one
    after: Array  # (T, N) states one step later; its environment sets the sensors anew

    def recordings(self) -> list[Array]:
        """Return the steps of its life, two states each, for :meth:`Substrate.from_series`."""
        return [np.stack(each) for each in zip(self.before, self.after, strict=True)]


def read_animats(folder: Any, labels: Sequence[str] | None = None) -> tuple[Animat, ...]:
    """Return the animats of a folder, see :func:`iitdask.formats.read_animats`."""
    place = Path(path_text(folder, "read_animats: expected a folder", SubstrateError))
    if not place.is_dir():
        raise SubstrateError(f"{place}: expected a folder of animats")
    found: dict[tuple[str, int], dict[str, Path]] = {}
    for path in sorted(place.iterdir()):
        name = FILE_NAME.fullmatch(path.name)
        if name:
            key = name["run"], int(name["born"])
            found.setdefault(key, {})[name["kind"]] = path
    if not found:
        raise SubstrateError(
            f"{place}: expected files ending in _FullLogicTable.txt, _LifetimeLogicTable.txt or "
            "_EdgeList.txt, got none"
        )
    return tuple(_read_animat(*key, found[key], labels) for key in sorted(found))


def _read_animat(
    run: str, born: int, files: dict[str, Path], labels: Sequence[str] | None
) -> Animat:
    substrate, nothing = None, np.zeros((0, 0), np.int64)
    before, after = nothing, nothing
    if "FullLogicTable" in files:
        substrate = _read_network(files["FullLogicTable"], files.get("EdgeList"), labels)
    if "LifetimeLogicTable" in files:
        path = files["LifetimeLogicTable"]
        before, after = _read_table(path)
        if substrate is not None and before.shape[1] != substrate.n_units:
            expected = f"expected {substrate.n_units} units as in its full table"
            raise SubstrateError(f"{path}: {expected}, got {before.shape[1]}")
    return Animat(run, born, substrate, before, after)


def _read_network(path: Path, edges: Path | None, labels: Sequence[str] | None) -> Substrate:
    before, after = _read_table(path)
    n = before.shape[1]
    if n > MAX_UNITS or len(before) != 2**n:
        raise SubstrateError(f"{path}: expected 2^{n} states of {n} units, got {len(before)}")
    codes = before @ (1 << np.arange(n))
    if len(np.unique(codes)) != 2**n:
        first = int(np.setdiff1d(np.arange(2**n), codes)[0])
        missing = "".join(str(first >> i & 1) for i in range(n))
        raise SubstrateError(f"{path}: expected every state once, got none of {missing}")
    tpm = np.empty((2**n, n))
    tpm[codes] = after
    connectivity: Any = "inferred" if edges is None else _read_edges(edges, n)
    return Substrate.from_tpm(tpm, connectivity, labels, where=str(path))


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path, SubstrateError).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SubstrateError(f"{path}: expected text: {error}") from error


def _read_table(path: Path) -> tuple[Array, Array]:
    """Return states before and after, (T, N) each."""
    lines = _lines(path)
    if not lines:
        raise SubstrateError(f"{path}: expected a head and rows of 0 and 1, got an empty file")
    n = len(_halves(lines[0], path, 1)[0])
    rows: list[list[str]] = []
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            first, second = _halves(line, path, number)
            if len(first) != n or (set(first) | set(second)) - {"0", "1"}:
                raise SubstrateError(
                    f"{path}, line {number}: expected 0 or 1 for {n} units before and after, got "
                    f"{quote(line)}"
                )
            rows.append([*first, *second])
    if not rows:
        raise SubstrateError(f"{path}: expected rows of 0 and 1, got a head alone")
    values = np.array(rows, np.int64)
    return values[:, :n], values[:, n:]


def _halves(line: str, path: Path, number: int) -> tuple[list[str], list[str]]:
    """Return the values before and after the empty column of a line."""
    words = [word.strip() for word in line.split(",")]
    while words and not words[-1]:
        words.pop()
    gap = words.index("") if "" in words else -1
    first, second = words[: max(gap, 0)], words[gap + 1 :]
    if gap < 1 or len(first) != len(second) or "" in second:
        raise SubstrateError(
            f"{path}, line {number}: expected as many values before an empty column as after it, "
            f"got {quote(line)}"
        )
    return first, second


def _read_edges(path: Path, n: int) -> Array:
    """Return ``(N, N)`` connections, [from, to]."""
    edges = np.zeros((n, n), np.bool_)
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isdigit() and int(word) < n for word in words):
            raise SubstrateError(
                f"{path}, line {number}: expected two numbers of units below {n}, got {quote(line)}"
            )
        edges[int(words[0]), int(words[1])] = True
    return edges
