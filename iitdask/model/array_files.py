"""Arrays from files of NumPy, SciPy and safetensors, read without running anything in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError
from iitdask.model.documents import read_file, require_memory
from iitdask.model.labels import first_names
from iitdask.types import Array

ARRAY_SUFFIXES = (".npy", ".npz", ".safetensors")
WEIGHT_NAMES = ("W", "weights", "weight")  # Arrays that are meant where no name is given
SPARSE_NAMES = {"format", "shape", "data"}  # Arrays in every archive of a sparse matrix of SciPy
MAX_HEADER_BYTES = 100_000_000  # Of a safetensors file, as its specification says
TENSOR_TYPES: Mapping[str, str] = MappingProxyType(
    {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1"}
    | {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U8": "|u1"}
)
"""NumPy's types of what safetensors files hold; BF16 is the upper half of a float32."""


def read_arrays(path: Path) -> Array | dict[str, Array]:
    """Return the array of a ``.npy`` file, or all arrays of an archive by name."""
    content = read_file(path, SubstrateError)
    if path.suffix.lower() == ".safetensors":
        return _read_tensors(content, path)
    is_array = path.suffix.lower() == ".npy"
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)  # a pickle could run anything
        if is_array:
            return np.asarray(loaded)
        require_memory(sum(member.file_size for member in loaded.zip.infolist()))
        return {key: loaded[key] for key in loaded.files}
    except Exception as error:  # what a damaged file raises is not documented
        kind = "array of numbers" if is_array else "archive of arrays"
        raise SubstrateError(f"{path}: expected a NumPy {kind}: {error}") from error


def read_matrix(path: Path, name: str | None = None) -> Any:
    """Return one matrix of a file: the named one, or the one that is meant; perhaps sparse."""
    arrays = read_arrays(path)
    if not isinstance(arrays, dict):
        if name is not None:
            raise SubstrateError(f"{path}: array: expected an archive of named arrays")
        return arrays
    if name is None and arrays.keys() >= SPARSE_NAMES:
        return _sparse_matrix(path)
    if name is None:
        named = [each for each in WEIGHT_NAMES if each in arrays]
        square = [k for k, a in arrays.items() if a.ndim == 2 and a.shape[0] == a.shape[1]]
        chosen = named[:1] or square
        if len(chosen) != 1:
            known = first_names(list(arrays)) or "none"
            raise SubstrateError(
                f"{path}: expected one square array, got {len(chosen)}; name one by array: {known}"
            )
        name = chosen[0]
    if name not in arrays:
        known = first_names(list(arrays)) or "none"
        raise SubstrateError(f"{path}: has no array {name!r}; known: {known}")
    return arrays[name]


def _sparse_matrix(path: Path) -> Any:
    """Return the sparse matrix that SciPy wrote."""
    try:
        from scipy import sparse  # noqa: PLC0415 - only such files need it
    except ImportError:
        hint = "pip install scipy"
        raise SubstrateError(f"{path}: a sparse matrix of SciPy needs SciPy: {hint}") from None
    try:
        return sparse.load_npz(path)
    except Exception as error:  # what a damaged file raises is not documented
        raise SubstrateError(f"{path}: expected a sparse matrix: {error}") from error


def _read_tensors(content: bytes, path: Path) -> dict[str, Array]:
    """Return the tensors of a safetensors file: the length of a header, the header, the numbers."""
    try:
        length = int.from_bytes(content[:8], "little")
        if len(content) < 8 + length or not 2 <= length <= MAX_HEADER_BYTES:
            raise ValueError("its header is not complete")  # noqa: TRY301 - as all else
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: _tensor(content[8 + length :], about) for name, about in header.items()}
    except Exception as error:
        raise SubstrateError(f"{path}: expected a safetensors file: {error}") from error


def _tensor(data: bytes, about: Mapping[str, Any]) -> Array:
    begin, end = about["data_offsets"]
    kind = about["dtype"]
    if kind not in TENSOR_TYPES:
        raise ValueError(f"a tensor of {kind} is none of {', '.join(TENSOR_TYPES)}")
    values = np.frombuffer(data[begin:end], TENSOR_TYPES[kind]).reshape(about["shape"])
    if kind == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values
