"""Sparse networks: structures and complexes of gene networks, rings of cells and a grid.

    python -m workflows.sparse_networks.analyse [TABLES.md [FOLDER]]

A folder receives pages to look at. Models and their sources are in ``networks.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import xarray as xr

import iitdask as iit
from workflows.sparse_networks import networks

WILD_TYPE = (
    "SLP3 SLP4 en1 EN1 hh1 HH1 SMO1 ptc2 PTC2 PH2 SMO2 ci2 CI2 CIA2 PTC3 ci3 CI3 CIR3 "
    "wg4 WG4 ptc4 PTC4 PH4 SMO4 ci4 CI4 CIA4"
)
LEUKEMIC = "P2 GPCR SMAD sFas FLIP IAP MCL1 S1P"  # With CTLA4 and TCR in turn
MOST_DIGITS = 12


class Model(NamedTuple):
    """A network in a state."""

    name: str
    make: Callable[[], iit.Substrate]
    on: str  # Units that are on
    left_out: tuple[str, ...] = ()  # Units outside the system that is unfolded, by their beginning

    @property
    def state(self) -> list[int]:
        """The state, a number per unit."""
        return [int(label in self.on.split()) for label in self.make().labels]

    @property
    def units(self) -> list[str]:
        """Units of the system that is unfolded."""
        return [name for name in self.make().labels if not name.startswith(self.left_out or "-")]


MODELS = (
    Model("budding yeast, G1", networks.budding_yeast, "Cdh1 Sic1"),
    Model("budding yeast, after START", networks.budding_yeast, "MBF SBF Cdh1 Sic1"),
    Model("fission yeast, G1", networks.fission_yeast, "Ste9 Rum1 Wee1"),
    Model("mammalian, at rest", networks.mammalian, "Rb p27 Cdh1"),
    Model("mammalian, cycling", networks.mammalian, "CycD UbcH10 CycB"),
    Model("leukemia, surviving T cell", networks.leukemia, LEUKEMIC),
    Model("segment polarity, wild type", networks.segment_polarity, WILD_TYPE, ("PH", "SLP")),
)
# Basins of attraction as printed, largest first
PRINTED_BASINS: Mapping[str, tuple[Callable[[], iit.Substrate], Sequence[int]]] = {
    "budding yeast": (networks.budding_yeast, (1764, 151, 109, 9, 7, 7, 1)),
    "fission yeast": (networks.fission_yeast, (762, 208)),
    "mammalian": (networks.mammalian, (512, 512)),
}
RINGS = {30: (8, 12), 54: (8, 12), 90: (8, 12, 16), 110: (8, 12, 16, 20)}  # Cells by rule


def short(number: float | str) -> str:
    """Return a number of relations, or Phi, as a cell of a table can hold it."""
    text = f"{number:.6g}" if isinstance(number, float) else number
    if isinstance(number, str) and len(number) > MOST_DIGITS:
        text = f"about 10^{len(number) - 1}"
    return text


def structure_row(tree: xr.DataTree) -> list[str]:
    """Return distinctions, relations, Phi and phi_s of a structure."""
    numbers = float(tree.attrs["big_phi"]), float(tree["system"]["phi"])
    counts = str(tree.attrs["n_distinctions"]), short(str(tree["relations"].attrs["count"]))
    return [*counts, *(short(number) for number in numbers)]


def complexes_text(found: xr.Dataset) -> str:
    """Return the complexes with their phi_s, the largest first; equal ones together."""
    by_phi: dict[str, list[str]] = {}
    for name, phi in zip(found["complex"].values, found["phi"].values, strict=True):
        by_phi.setdefault(f"{phi:.4f}", []).append(str(name).replace(",", " "))
    texts = [f"{'; '.join(names)} ({phi})" for phi, names in by_phi.items()]
    return "; ".join(texts) + ("" if found.attrs["exhaustive"] else " (not exhaustive)")


def gene_rows(models: Sequence[Model] = MODELS) -> Iterator[list[str]]:
    """Yield the structure and the complexes of every gene network."""
    for model in models:
        began, substrate = time.process_time(), model.make()
        tree = iit.ces(substrate, model.state, model.units)
        found = iit.complexes(substrate, model.state)
        seconds = f"{time.process_time() - began:.1f}"
        units = f"{len(model.units)} of {substrate.n_units}"
        yield [model.name, units, *structure_row(tree), complexes_text(found), seconds]


def basin_rows() -> Iterator[list[str]]:
    """Yield the basins of the models here and in their papers: whether the rules are those."""
    for name, (make, printed) in PRINTED_BASINS.items():
        basins = iit.dynamics(make())["attractors"]["basin"].values
        ours = sorted(basins.astype(int).tolist(), reverse=True)[: len(printed)]
        yield [name, ", ".join(map(str, ours)), ", ".join(map(str, printed))]


def ring_rows(rings: Mapping[int, Sequence[int]] = RINGS) -> Iterator[list[str]]:
    """Yield structures of rings of cells, all of them off."""
    for rule, sizes in rings.items():
        for n in sizes:
            began = time.process_time()
            tree = iit.ces(networks.automaton(rule, n), [0] * n)
            seconds = f"{time.process_time() - began:.1f}"
            yield [str(rule), str(n), *structure_row(tree), seconds]


def grid_rows(sizes: Sequence[tuple[int, int]] = ((3, 3), (3, 4), (4, 4))) -> Iterator[list[str]]:
    """Yield phi_s of grids with all units on, and their complexes."""
    for rows, columns in sizes:
        began, substrate = time.process_time(), networks.grid(rows, columns)
        state = [1] * substrate.n_units
        phi = float(iit.sia(substrate, state)["phi"])
        found = iit.complexes(substrate, state)
        seconds = f"{time.process_time() - began:.1f}"
        yield [f"{rows} x {columns}", f"{phi:.6g}", complexes_text(found), seconds]


def table(columns: str, rows: Iterator[list[str]]) -> list[str]:
    """Return a table as lines of text."""
    head = columns.split(" | ")
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


STRUCTURE = "distinctions | relations | Phi | phi_s"


def tables() -> list[str]:
    """Return everything as lines of one page."""
    lines = ["# Sparse networks", "", "## Gene networks", ""]
    lines += table(f"network | units | {STRUCTURE} | complexes (phi_s) | CPU s", gene_rows())
    lines += ["", "Basins of attraction, in states:", ""]
    lines += table("network | here | printed", basin_rows())
    lines += ["", "## Elementary automata: rings of cells that are all off", ""]
    lines += table(f"rule | cells | {STRUCTURE} | CPU s", ring_rows())
    lines += ["", "## Grids of units drawn to the state of their neighbours, all on", ""]
    return [*lines, *table("grid | phi_s | complexes (phi_s) | CPU s", grid_rows()), ""]


def pages(folder: Path, models: Sequence[Model] = MODELS[:3]) -> Iterator[Path]:
    """Write a page to look at per network: its structure, and its complexes."""
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        name = model.name.replace(",", "").replace(" ", "_")
        for kind in ("ces", "complexes"):
            found = getattr(iit, kind)(model.make(), model.state)
            path = folder / f"{name}_{kind}.html"
            iit.plot.explorer(found).save(path)
            yield path


def main(path: str | None = None, folder: str | None = None) -> None:
    """Compute everything and write it."""
    began = time.perf_counter()
    text = "\n".join(tables())
    if path is None:
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")
    for page in [] if folder is None else pages(Path(folder)):
        sys.stdout.write(f"{page}\n")
    sys.stdout.write(f"{time.perf_counter() - began:.1f} s\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
