"""Draw the graphs of the benchmark: ``python -m workflows.phibench.draw`` writes `graphs.csv`.

The published run seeds the generator anew for every graph, so that the 50 networks of a
configuration have one graph. The file was made with networkx 3.6.1; others may draw others.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from workflows.phibench.graphs import FILE, configurations, name_of

SEED = 42


def draw(n: int, topology: str, parameters: Mapping[str, Any]) -> np.ndarray:
    """Return ``(N, N)`` connections [from, to]; a modular graph of odd n has one unit less."""
    if topology == "erdos_renyi":
        graph = nx.erdos_renyi_graph(n, parameters["p"], directed=True, seed=SEED)
    elif topology == "watts_strogatz":
        graph = nx.watts_strogatz_graph(n, parameters["k"], parameters["p"], seed=SEED)
    elif topology == "barabasi_albert":
        graph = nx.barabasi_albert_graph(n, parameters["m"], seed=SEED)
    elif topology == "modular":
        count, p_in, p_out = (parameters[key] for key in ("n_modules", "p_in", "p_out"))
        odds = np.where(np.eye(count, dtype=bool), p_in, p_out).tolist()
        graph = nx.stochastic_block_model([n // count] * count, odds, directed=True, seed=SEED)
    elif topology == "random_geometric":
        graph = nx.random_geometric_graph(n, parameters["radius"], seed=SEED)
    else:
        steps = range(1, int(parameters["k"]) // 2 + 1)
        graph = nx.DiGraph([(i, (i + step) % n) for i in range(n) for step in steps])
    return np.asarray(nx.to_numpy_array(graph, nodelist=sorted(graph), dtype=int))


def write(path: Path = FILE) -> None:
    """Draw all graphs and write them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["configuration", "n", "topology", "connections"])
        for n, topology, parameters in configurations():
            rows = ["".join(map(str, row)) for row in draw(n, topology, parameters)]
            table.writerow([name_of(n, topology, parameters), n, topology, " ".join(rows)])


if __name__ == "__main__":
    write()
