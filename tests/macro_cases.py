"""Macro systems: golden ones and random ones, as the package and as the oracle take them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import iitdask as iit
from tests.reference import macro

GOLDEN = Path(__file__).parent / "golden" / "macro"


def read(pattern):
    """Golden objects of the files that match, lists and single ones alike."""
    found = []
    for path in sorted(GOLDEN.glob(pattern)):
        content = json.loads(path.read_text(encoding="utf-8"))
        found += content if isinstance(content, list) else [content]
    assert found
    return found


SYSTEMS = [*read("systems.json"), *read("macro__*.json")]
SEARCHES = [*read("searches.json"), *read("macro_search__*.json")]


def names(cases):
    return [case["name"] for case in cases]


def substrate_of(golden):
    return iit.Substrate.from_tpm(golden["tpm"])


def window_of(golden):
    return [tuple(state) for state in golden["micro_history"]]


def defined(unit):
    """Unit of the package from one of a golden file."""
    members = [defined(each) if isinstance(each, dict) else each for each in unit["constituents"]]
    return iit.unit(
        members,
        table=unit["mapping"],
        updates=unit["update_grain"],
        background=unit["background_apportionment"],
    )


def plain(unit):
    """Unit of the oracle from one of a golden file."""
    members = [
        plain(each) if isinstance(each, dict) else macro.micro(each)
        for each in unit["constituents"]
    ]
    ordered = macro.composed(members, unit["update_grain"], unit["mapping"])
    return {**ordered, "background": sorted(unit["background_apportionment"])}


@dataclass(frozen=True)
class MacroCase:
    """A random macro system, in the form of golden files."""

    tpm: np.ndarray
    units: list
    window: list

    @property
    def substrate(self):
        return iit.Substrate.from_tpm(self.tpm)

    def definitions(self):
        return [defined(unit) for unit in self.units]


def drawn(seed, n=None, most_updates=3):
    """A macro system: 1 to 3 units of 1 to 2 constituents, some on meso units, some background."""
    rng = np.random.default_rng([seed, 14])
    n = int(rng.integers(2, 5)) if n is None else n
    kind = seed % 3
    tpm = rng.uniform(0, 1, (1 << n, n)) if kind else rng.integers(0, 2, (1 << n, n)) * 0.9 + 0.05
    if kind == 2:  # sparse: every unit hears two others
        for i in range(n):
            heard = rng.choice(n, min(2, n), replace=False)
            rows = np.arange(1 << n)
            row = sum((rows >> int(j) & 1) << k for k, j in enumerate(heard))
            tpm[:, i] = rng.uniform(0, 1, 4)[row]
    left = rng.permutation(n).tolist()
    most_updates = min(most_updates, 2 if n > 3 else 3)
    units = []
    while left and len(units) < 3:
        size = min(int(rng.integers(1, 3)), len(left))
        own, left = left[:size], left[size:]
        updates = int(rng.integers(1, most_updates + 1))
        units.append(_drawn_unit(rng, own, updates))
        if rng.random() < 0.3:
            break
    for unit in units:
        if left and rng.random() < 0.5:
            unit["background_apportionment"].append(left.pop())
    longest = max(plain(unit)["grain"] for unit in units)
    window = rng.integers(0, 2, (longest, n)).tolist()
    return MacroCase(tpm, units, window)


def _drawn_unit(rng, members, updates):
    if len(members) == 2 and updates == 2 and rng.random() < 0.5:
        return _with_table(rng, [_with_table(rng, [each], 2) for each in members], 1)
    return _with_table(rng, members, updates)


def _with_table(rng, members, updates):
    table = rng.integers(0, 2, 1 << (len(members) * updates))
    table[0], table[-1] = rng.permutation([0, 1])
    return {
        "constituents": members,
        "update_grain": updates,
        "mapping": table.tolist(),
        "background_apportionment": [],
    }
