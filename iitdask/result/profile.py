"""What a cube says in all, and along each of its axes, as rows of text."""

from __future__ import annotations

import numpy as np
import xarray as xr

from iitdask.result.cube import STATUS

__all__ = ["axis_rows", "cube_rows"]

SHOWN = ("phi", "big_phi", "alpha")
NAMES = {"phi": "phi_s", "big_phi": "Phi"}


def cube_rows(data: xr.Dataset) -> list[tuple[str, str]]:
    """What there is to say about the whole, as names and values."""
    status = _words(data, "status")
    counts = [f"{int((status == name).sum())} {name}" for name in STATUS.values()]
    rows = [
        ("sweep", " x ".join(f"{dim} ({n})" for dim, n in data.sizes.items())),
        ("computed", str(data.attrs.get("compute", ""))),
        ("points", ", ".join(text for text in counts if not text.startswith("0 "))),
    ]
    point = data["point"].values
    rows.append(("different systems", str(len(np.unique(point[point >= 0])))))
    seconds, first = _each(data, "seconds"), _each(data, "point")
    if np.isfinite(seconds).any():
        _, places = np.unique(first[first >= 0], return_index=True)
        rows.append(("core time", f"{np.nansum(seconds[first >= 0][places]):.3g} s"))
    for name in SHOWN:
        if name in data:
            values = data[name].values
            there = values[np.isfinite(values)]
            if len(there):
                rows.append((NAMES.get(name, name), _spread(there)))
    messages, numbers = np.unique(_words(data, "message"), return_counts=True)
    for message, number in zip(messages.tolist(), numbers.tolist(), strict=True):
        if message:
            rows.append((f"{number} points", message))
    return rows[:20]


def _words(data: xr.Dataset, name: str) -> np.ndarray:
    """Text as objects, whichever of its forms it was read in."""
    return np.asarray(data[name].values).astype(object)


def _each(data: xr.Dataset, name: str) -> np.ndarray:
    return np.asarray(data[name].values).ravel()


def _spread(values: np.ndarray) -> str:
    above = int((values > 0).sum())
    mean, largest = f"mean {values.mean():.6g}", f"largest {values.max():.6g}"
    return f"{above} of {len(values)} above 0; {mean}, {largest} bits"


def axis_rows(data: xr.Dataset, dim: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns, and one row for each value along an axis: means over all other axes."""
    shown = [name for name in SHOWN if name in data]
    columns = [dim, "done"]
    for name in shown:
        columns += [f"mean {NAMES.get(name, name)}", f"largest {NAMES.get(name, name)}"]
    labels = data[dim].values if dim in data.coords else np.arange(data.sizes[dim])
    done = np.moveaxis(_words(data, "status") == "done", data["status"].dims.index(dim), 0)
    done = done.reshape(len(labels), -1)
    rows = []
    for k, label in enumerate(labels.tolist()):
        row = [f"{label:.6g}" if isinstance(label, float) else str(label), str(int(done[k].sum()))]
        for name in shown:
            values = np.moveaxis(data[name].values, data[name].dims.index(dim), 0)[k].ravel()
            values = values[np.isfinite(values)]
            row += [f"{values.mean():.6g}", f"{values.max():.6g}"] if len(values) else ["-", "-"]
        rows.append(tuple(row))
    return tuple(columns), rows
