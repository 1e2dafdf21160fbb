"""Phi by topology, gates and size: ``python -m workflows.iit3_networks.analyse STORE [FILE]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr


def networks(store: str) -> xr.Dataset:
    """Phi and seconds of every network, with its topology, gates and number of units."""
    cube = xr.open_zarr(store, group="result", consolidated=False).load()
    done = (cube["status"].transpose("state", "substrate") == "done").values
    if (done.sum(axis=0) != 1).any():
        raise SystemExit(f"{store}: some networks are not done; run the study again to resume it")
    state, substrate = np.nonzero(done)
    one = ("network",)
    where = {"state": xr.Variable(one, state), "substrate": xr.Variable(one, substrate)}
    own = cube[["phi", "seconds"]].isel(where)
    parts = [str(name).split("-") for name in own["substrate"].values]
    named = {key: (one, [p[k] for p in parts]) for k, key in enumerate(("topology", "gates", "n"))}
    return own.assign_coords(named)


def _line(cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(store: str) -> str:
    """Mean and largest Phi of each class, and how many of its networks are irreducible."""
    found = networks(store)
    keys = [
        tuple(str(found[name].values[k]) for name in ("topology", "gates", "n"))
        for k in range(found.sizes["network"])
    ]
    sizes = sorted({n for _, _, n in keys})
    lines = [
        f"# Big Phi of {len(keys):,} networks, IIT 3.0",
        "",
        "Mean (largest) Phi, and how many of a class are irreducible.",
        "",
        _line(["topology", "gates", *(f"{n} units" for n in sizes)]),
        _line(["---"] * (2 + len(sizes))),
    ]
    for topology, gates in dict.fromkeys(key[:2] for key in keys):
        cells = [topology, gates]
        for n in sizes:
            phi = found["phi"].values[[key == (topology, gates, n) for key in keys]]
            irreducible = f"{(phi > 0).sum()} of {len(phi)}"
            cells.append(f"{phi.mean():.3f} ({phi.max():.3f}), {irreducible}")
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table(sys.argv[1])
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text, encoding="utf-8")
    else:
        print(text)
