"""Substrates from the ``weights`` of a study, and networks in the order of their training.

Network checkpoints are matrices in a list, or files of a folder, whose numbers name them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.model.array_files import ARRAY_SUFFIXES, read_arrays, read_matrix
from iitdask.model.substrate import Substrate

WEIGHT_PARAMETERS = ("bias", "slope", "prune")  # Options that are numbers, and may be axes
WEIGHT_KEYS = ("activation", *WEIGHT_PARAMETERS, "array", "transpose")
"""Keys of a substrate block beside ``weights``; the last two are for files."""
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One state of a network in training."""

    name: int | str  # Its label along the axis
    block: Mapping[str, Any]  # The substrate block that describes it


def substrate_from_weights(block: Mapping[str, Any], folder: Path, where: str) -> Substrate:
    """Return the substrate of a block with ``weights``: a matrix, or a file that holds one."""
    given = dict(block)
    weights, array = given.pop("weights"), given.pop("array", None)
    transpose = given.pop("transpose", False)
    if not isinstance(transpose, bool):
        raise SubstrateError(f"{where}: transpose: expected true or false, got {quote(transpose)}")
    if array is not None and not isinstance(array, str):
        raise SubstrateError(f"{where}: array: expected a name, got {quote(array)}")
    place = f"{where}.weights"
    if isinstance(weights, str | Path):
        path = folder / weights
        require_array_suffix(path)
        weights, place = read_matrix(path, array), str(path)
        if isinstance(given.get("bias"), str):
            arrays = read_arrays(path)
            if not isinstance(arrays, dict) or given["bias"] not in arrays:
                raise SubstrateError(f"{path}: bias: has no array {given['bias']!r}")
            given["bias"] = arrays[given["bias"]]
    elif array is not None:
        raise SubstrateError(f"{where}: array: expected the name of a file as weights beside it")
    if transpose:
        weights = weights.T if hasattr(weights, "T") else np.transpose(weights)
    return Substrate.from_weights(weights, **given, where=place)


def require_array_suffix(path: Path) -> None:
    """Refuse a file that is none of arrays."""
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        raise SubstrateError(f"{path}: expected a file ending in {', '.join(ARRAY_SUFFIXES)}")


def list_checkpoints(content: Any, where: str) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of an axis: a list of matrices or files, a folder, or a mapping.

    A mapping has the list or folder as ``weights``, and options of :meth:`Substrate.from_weights`.
    Files of a folder are named by the last number in their names, if all have one of their own.

    Examples
    --------
    >>> [each.name for each in list_checkpoints([[[0.0]], [[1.0]]], "epoch")]
    [0, 1]
    """
    options: dict[str, Any] = {}
    if isinstance(content, Mapping):
        options = dict(content)
        content = options.pop("weights", None)
    if isinstance(content, str | Path):
        files = _files(Path(content), where)
        names = _file_names(files)
        order = sorted(range(len(files)), key=lambda k: names[k])
        return tuple(Checkpoint(names[k], {"weights": files[k], **options}) for k in order)
    is_array = isinstance(content, np.ndarray) and content.ndim == 3
    if not is_array and (not isinstance(content, Sequence) or not content):
        raise SubstrateError(
            f"{where}: expected a list of matrices or files, or the name of a folder, "
            f"got {quote(content)}"
        )
    return tuple(Checkpoint(k, {"weights": each, **options}) for k, each in enumerate(content))


def _files(folder: Path, where: str) -> list[Path]:
    if not folder.is_dir():
        raise SubstrateError(f"{where}: expected a folder of checkpoints, got {quote(str(folder))}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ARRAY_SUFFIXES)
    if not files:
        kinds = ", ".join(ARRAY_SUFFIXES)
        raise SubstrateError(f"{where}: expected files ending in {kinds} in {quote(str(folder))}")
    return files


def _file_names(files: Sequence[Path]) -> list[Any]:
    """Return the last number in each name, or the names where these are not distinct."""
    found = [NUMBER.findall(path.stem) for path in files]
    numbers = [int(each[-1]) for each in found if each]
    if len(set(numbers)) == len(files):
        return numbers
    stems = [path.stem for path in files]
    return stems if len(set(stems)) == len(files) else [path.name for path in files]
