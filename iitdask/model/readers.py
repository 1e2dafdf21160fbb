"""Substrates from files: study files, arrays, and tables of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import StateError, SubstrateError, quote
from iitdask.model import examples
from iitdask.model.array_files import read_arrays
from iitdask.model.checkpoints import require_array_suffix, substrate_from_weights
from iitdask.model.documents import path_text, read_document, read_file
from iitdask.model.examples import inline_substrate, substrate_kind
from iitdask.model.graphs import read_graph, substrate_from_graph
from iitdask.model.pyphi import (
    is_pyphi_json,
    parse_network,
    tpm_arguments,
    with_standard_names,
)
from iitdask.model.substrate import Substrate

__all__ = ["load"]


def require_substrate(given: Any) -> Substrate:
    """Return a substrate; say how to make one of anything else."""
    if isinstance(given, Substrate):
        return given
    hint = ""
    if isinstance(given, str | Path):
        kind = "examples.load" if str(given) in examples.names() else "load"
        hint = f"; {kind}({quote(str(given))}) makes one"
    elif hasattr(given, "tpm") or hasattr(given, "factors"):
        hint = "; Substrate.from_pyphi makes one"
    elif isinstance(given, list | tuple | Mapping) or hasattr(given, "shape"):
        hint = "; Substrate.from_tpm makes one of a table"
    raise SubstrateError(f"substrate: expected a Substrate, got {quote(given)}{hint}")


def substrate_from_study(
    block: Mapping[str, Any], folder: Path, where: str = "substrate"
) -> Substrate:
    """Return the substrate that the ``substrate:`` block of a study describes.

    Examples
    --------
    >>> substrate_from_study({"example": "basic"}, Path())
    Substrate(3 units: A B C; binary; 5 edges)
    """
    block = with_standard_names(block, where) if isinstance(block, Mapping) else block
    if isinstance(block, Mapping) and "values" in block:
        rest = {key: value for key, value in block.items() if key != "values"}
        try:
            return substrate_from_study(rest, folder, where).with_value_names(block["values"])
        except StateError as error:
            raise SubstrateError(f"{where}: {error}") from error
    kind = substrate_kind(block, where)
    if kind == "example":
        if len(block) > 1 or not isinstance(block["example"], str):
            raise SubstrateError(f"{where}: expected example to be a name that stands alone")
        return examples.load(block["example"])
    if kind == "tpm" and isinstance(block["tpm"], str):
        given = {key: value for key, value in block.items() if key != "tpm"}
        return _load_tpm(folder / block["tpm"], given)
    if kind == "weights":
        return substrate_from_weights(block, folder, where)
    if kind == "series":
        options = {key: value for key, value in block.items() if key != "series"}
        recordings = _read_recordings(block["series"], folder)
        return Substrate.from_series(recordings, **options, where=f"{where}.series")
    return inline_substrate(block, where)


def load(path: str | Path) -> Substrate:
    """Return the substrate of a file.

    Parameters
    ----------
    path
        ``.yaml``, ``.yml`` or ``.json``: a study, or only its substrate block, or the JSON
        of a PyPhi 1.x network, or of its ``tpm`` and ``cm``;
        ``.npz``: array ``tpm``, optionally ``connectivity`` or ``cm``, and ``labels``;
        ``.graphml``: a graph of gates or tables, see :func:`iitdask.formats.read_graphml`.

    Returns
    -------
    Substrate
        The substrate, checked.

    Raises
    ------
    SubstrateError
        The file cannot be read or does not describe a substrate.

    Examples
    --------
    >>> load("none.yaml")
    Traceback (most recent call last):
    iitdask.errors.SubstrateError: none.yaml: expected a readable file: No such file or directory
    """
    path = Path(path_text(path, "load: expected the path of a file", SubstrateError))
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _load_tpm(path, {})
    if suffix == ".graphml":
        return substrate_from_graph(read_graph(str(path)), None, None, "weight", str(path))
    if suffix not in {".yaml", ".yml", ".json"}:
        kinds = ".yaml, .yml, .json, .npz or .graphml"
        raise SubstrateError(f"{path}: expected a file ending in {kinds}")
    content = read_document(path, SubstrateError)
    if not isinstance(content, Mapping):
        raise SubstrateError(
            f"{path}: expected a study or its substrate block, got {quote(content)}"
        )
    if is_pyphi_json(content):
        return Substrate.from_pyphi(content, where=str(path))
    block = content.get("substrate", content)
    return substrate_from_study(block, path.parent, f"{path}: substrate")


def _load_tpm(path: Path, given: Mapping[str, Any]) -> Substrate:
    """Return the substrate of a file with a matrix; what is given beside it has priority."""
    readers = {".npy": _read_arrays, ".npz": _read_arrays, ".json": _read_json}
    readers |= {".csv": _read_text, ".tsv": _read_text, ".txt": _read_text}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise SubstrateError(
            f"{path}: expected a file ending in .npy, .npz, .csv, .tsv, .txt or .json"
        )
    content = {**readers[suffix](path), **given}
    return Substrate.from_tpm(**content, where=str(path))


def _read_arrays(path: Path) -> dict[str, Any]:
    content: Any = read_arrays(path)
    if not isinstance(content, dict):
        return {"tpm": content}
    if "labels" in content:
        content["labels"] = [str(label) for label in np.ravel(content["labels"])]
    return tpm_arguments(content, str(path))


def _read_recordings(given: Any, folder: Path) -> Any:
    """Return recordings written out, or those in a file or a list of files."""
    if isinstance(given, list) and given and all(isinstance(each, str) for each in given):
        return [array for name in given for array in _recordings_in(folder / name)]
    return _recordings_in(folder / given) if isinstance(given, str) else given


def _recordings_in(path: Path) -> list[Any]:
    suffix = path.suffix.lower()
    if suffix in {".csv", ".tsv", ".txt"}:
        return [_read_text(path)["tpm"]]
    require_array_suffix(path)
    arrays = read_arrays(path)
    return list(arrays.values()) if isinstance(arrays, dict) else [arrays]


def _read_json(path: Path) -> dict[str, Any]:
    content = read_document(path, SubstrateError)
    if is_pyphi_json(content):
        return parse_network(content, str(path))
    return tpm_arguments(content, str(path)) if isinstance(content, dict) else {"tpm": content}


def _read_text(path: Path) -> dict[str, Any]:
    """Return the rows of numbers of a text file; ``#`` starts a comment."""
    try:
        lines = read_file(path, SubstrateError).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SubstrateError(f"{path}: expected text: {error}") from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if words:
            try:
                rows.append([float(word) for word in words])
            except ValueError as error:
                line = " ".join(words)
                raise SubstrateError(
                    f"{path}, line {number}: expected numbers, got {quote(line)}"
                ) from error
            if len(rows[-1]) != len(rows[0]):
                raise SubstrateError(
                    f"{path}, line {number}: expected {len(rows[0])} numbers like the first row, "
                    f"got {len(words)}"
                )
    if not rows:
        raise SubstrateError(f"{path}: expected rows of numbers, got an empty file")
    return {"tpm": rows}
