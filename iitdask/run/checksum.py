"""Checksums: of arrays, of JSON values, of a stage's lineage and of the package's source."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import google_crc32c
import numpy as np

from iitdask.theory.stage import Array, Stage, StageRef


@cache
def package_version() -> str:
    """Return the version of the package; ``unknown`` if it is not installed."""
    try:
        return version("iitdask")
    except PackageNotFoundError:
        return "unknown"


@cache
def build_id() -> str:
    """Version of the package and a digest of its source, such as ``0.2.0+9f2c61d08a4b``."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return f"{package_version()}+{digest.hexdigest()[:12]}"


COMPUTING_SOFTWARE = ("python", "numpy", "numba")
"""Software of which another version could give other bits."""
CARRYING_SOFTWARE = ("dask", "distributed", "zarr")
"""Software of which another version may not understand this one."""


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of the software that computes blocks and carries them."""
    python = ".".join(platform.python_version_tuple()[:2])
    names = (*COMPUTING_SOFTWARE[1:], *CARRYING_SOFTWARE)
    return {"python": python} | {name: version(name) for name in names}


def array_digest(array: Array) -> int:
    """64 bits of an array's dtype, shape and bytes."""
    state = blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=8)
    # reshape before view: a zero-dimensional array has no axis to view as bytes.
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return int.from_bytes(state.digest(), "little")


def array_crc(array: Array) -> int:
    """Return two CRC-32C in one number: of an array's bytes, and above it of its type and shape.

    Tells whether an array is what was written; whether two arrays are equal at all, ask
    :func:`array_digest`.
    """
    header: int = google_crc32c.value(f"{array.dtype.str}{array.shape}".encode())
    data: int = google_crc32c.value(np.ascontiguousarray(array))
    return header << 32 | data


# Made once: json.dumps makes an encoder for every call.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def text_digest(parts: Iterable[object]) -> str:
    """Digest of values that JSON can hold, as 16 hexadecimal digits."""
    return blake2b(_ENCODER.encode(list(parts)).encode(), digest_size=8).hexdigest()


def lineage(stage: Stage, earlier: Callable[[str], str]) -> str:
    """Digest of all that the numbers of a stage depend on.

    Two stages of one lineage hold the same numbers; when the version of a stage
    is raised, its lineage changes and so does that of every stage fed by it.
    """
    grid = stage.grid
    inputs = {
        name: [earlier(given.stage), given.variable]
        if isinstance(given, StageRef)
        else array_digest(np.asarray(given))
        for name, given in sorted(stage.inputs.items())
    }
    fills = [[v.name, np.dtype(v.dtype).str, repr(v.fill), v.inner] for v in stage.variables]
    axes = [grid.dims, grid.shape, sorted(grid.unsplit), sorted(grid.power_of_two)]
    return text_digest([stage.version, axes, fills, inputs, stage.until is not None])
