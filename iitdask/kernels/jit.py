"""The one compilation policy, and where compiled kernels are kept.

Kernels are plain ``njit``: no threads of their own (all parallelism is Dask's),
no ``fastmath`` (bits must not depend on the machine's mood), no ``guvectorize``
(its disk cache is known to crash under many processes). Compiled code is kept in
one private directory per user, kernel source, numba version and CPU, so that a
second process and every worker compile nothing. ``IITDASK_NUMBA_CACHE`` moves
the directory (cluster jobs point it at a node-local disk); ``0`` turns it off.
"""

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np

# An index that cannot be negative, for inner loops: of a signed one numba asks whether it counts
# from the end, which bars vectors. Only combined with its like: with a signed one it makes a float.
index = np.uint64
# NumPy values, so that numba compiles what it is handed to once and not once per literal
ZERO_INT64, ONE_INT64, TRUE, FALSE = np.int64(0), np.int64(1), np.bool_(True), np.bool_(False)


def _source_digest() -> str:
    """Digest of every kernel source: numba does not notice when a callee's file changes."""
    digest = hashlib.sha256(f"{numba.__version__}-{sys.version_info[:2]}".encode())
    digest.update(f"{llvm.get_host_cpu_name()}-{platform.machine()}".encode())
    folder = Path(__file__).parent
    digest.update(str(folder).encode())  # numba keeps code by the path of its source, too
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_private(directory: Path) -> bool:
    """Compiled code is executed when loaded: only a directory that is ours alone will do."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = directory.stat()
    except OSError:
        return False
    owned = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return owned and not about.st_mode & 0o022 and os.access(directory, os.W_OK)


def _find_directory() -> Path | None:
    wanted = os.environ.get("IITDASK_NUMBA_CACHE", "")
    if wanted == "0":
        return None
    name = f"kernels-{_source_digest()}"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    base = Path(wanted) if wanted else Path(home) / "iitdask"
    if _is_private(base / name):
        return base / name
    return Path(tempfile.mkdtemp(prefix="iitdask-")) / name


_DIRECTORY = _find_directory()


def cache_directory() -> Path | None:
    """Return the directory that holds compiled kernels, None when caching is off."""
    return _DIRECTORY


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on first call, release the GIL, keep the machine code on disk."""
    return _compile(function)


def leaf(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``kernel``, for functions that allocate nothing, nor call any that do.

    They are compiled without reference counts: with them a third of a search's time went into
    counting the arrays that its small functions hand to each other.
    """
    return _compile(function, _nrt=False)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``leaf``, for functions that only other kernels call.

    They get no entry from Python, which would unpack every array of their arguments: a tenth of
    all compilation. Calling one from Python would crash; a test of the house sees that none is.
    """
    return _compile(function, _nrt=False, no_cpython_wrapper=True)


def merged(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``inner``, for functions written apart that one kernel calls: compiled as part of it.

    Whatever a kernel calls is otherwise optimised once more along with it: each level between the
    entry and the innermost loop costs seconds.
    """
    return _compile(function, _nrt=False, no_cpython_wrapper=True, inline="always")


def _compile(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    numba_: Any = numba  # its stubs know neither CACHE_DIR nor no_cfunc_wrapper
    policy = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, **more}
    if _DIRECTORY is None:
        return numba_.njit(**policy)(function)  # type: ignore[no-any-return]
    before = numba_.config.CACHE_DIR
    numba_.config.CACHE_DIR = str(_DIRECTORY)  # read once, when the dispatcher is made
    try:
        return numba_.njit(**policy, cache=True)(function)  # type: ignore[no-any-return]
    finally:
        numba_.config.CACHE_DIR = before


def is_family_compiled(family: str) -> bool:
    """Tell whether a family of kernels has been compiled into the cache before."""
    return _DIRECTORY is not None and (_DIRECTORY / f"{family}.warm").exists()


def mark_family_compiled(family: str) -> None:
    """Note that a family of kernels is in the cache."""
    if _DIRECTORY is not None:
        _DIRECTORY.mkdir(parents=True, exist_ok=True)
        (_DIRECTORY / f"{family}.warm").touch()
