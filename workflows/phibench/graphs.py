"""The graphs of the benchmark, as `graphs.csv` keeps them.

Topologies, parameters and sizes are those of the published run (jayeveringham/phibench, MIT).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("graphs.csv")
SIZES = (4, 5, 6, 7, 8)
GRID: Mapping[str, tuple[Mapping[str, float], ...]] = {
    "erdos_renyi": tuple({"p": p} for p in (0.2, 0.3, 0.5, 0.7)),
    "watts_strogatz": tuple({"k": k, "p": p} for k in (2, 4) for p in (0.0, 0.1, 0.3)),
    "barabasi_albert": tuple({"m": m} for m in (1, 2, 3)),
    "modular": tuple(
        {"n_modules": 2, "p_in": p_in, "p_out": p_out}
        for p_in, p_out in ((0.6, 0.1), (0.8, 0.1), (0.8, 0.3))
    ),
    "ring_lattice": ({"k": 2}, {"k": 4}),
    "random_geometric": tuple({"radius": radius} for radius in (0.3, 0.5, 0.7)),
}


def configurations() -> Iterator[tuple[int, str, Mapping[str, float]]]:
    """Yield the number of units, topology and parameters of every graph, 104 in all."""
    for n in SIZES:
        for topology, settings in GRID.items():
            for parameters in settings:
                if topology != "ring_lattice" or parameters["k"] < n:
                    yield n, topology, parameters


def name_of(n: int, topology: str, parameters: Mapping[str, float]) -> str:
    """Return what the benchmark calls a configuration."""
    return f"{topology}_n{n}_" + "_".join(f"{key}{parameters[key]}" for key in sorted(parameters))


def read() -> list[tuple[str, int, str, np.ndarray]]:
    """Return configuration, size, topology and ``(N, N)`` connections of every graph."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [
            (
                row["configuration"],
                int(row["n"]),
                row["topology"],
                np.array([[int(digit) for digit in line] for line in row["connections"].split()]),
            )
            for row in csv.DictReader(file)
        ]
