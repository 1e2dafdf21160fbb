"""The one compilation policy, and where compiled kernels are kept.

Kernels are plain ``njit``: no threads of their own (all parallelism is Dask's),
no ``fastmath`` (bits must not depend on the machine's mood), no ``guvectorize``
(its disk cache is known to crash under many processes). Compiled code is kept in
one private directory per user, kernel source, numba version and CPU, so that a
second process compiles nothing. ``IITDASK_NUMBA_CACHE`` moves the directory (cluster
jobs point it at a node-local disk); ``0`` turns it off. Nothing in it depends on where
the package or the directory lies, so that an archive of it serves on other machines.

Compiled code is executed when it is loaded. A directory that another user could fill or
exchange is not used, and a file is read only if it holds what was written.
"""

import atexit
import hashlib
import json
import os
import platform
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import event
from numba.extending import register_jitable

from iitdask.errors import KernelCacheWarning, one_line, quote
from iitdask.kernels.kernel_files import (
    PACKAGE,
    KernelCache,
    locked_folder,
    pack_folder,
    read_checked,
    unpack_folder,
    write_checked,
)

CACHE_VARIABLE = "IITDASK_NUMBA_CACHE"
FALLBACK_VARIABLE = "IITDASK_NUMBA_FALLBACK"
"""Set by a process that cannot use its cache, for those it starts: directory all use instead."""
COMPILE_SECONDS = 300.0  # Longest time in which a process may compile while others wait for it
NOBODY = 65534
"""User to whom a container without root shows what belongs to root."""

# An index that cannot be negative, for inner loops: of a signed one numba asks whether it counts
# from the end, which bars vectors. Only combined with its like: with a signed one it makes a float.
index = np.uint64
# NumPy values, so that numba compiles what it is handed to once and not once per literal
ZERO_INT64, ONE_INT64, TRUE, FALSE = np.int64(0), np.int64(1), np.bool_(True), np.bool_(False)


def _source_digest() -> str:
    """Digest of every kernel source: numba does not notice when a callee's file changes."""
    about = (numba.__version__, llvmlite.__version__, np.__version__, sys.version_info[:2])
    digest = hashlib.sha256(repr((*about, platform.machine(), *_target_cpu())).encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _target_cpu() -> tuple[str, str]:
    """Return the name and the features of the processor that code is compiled for."""
    config: Any = numba.config
    name = config.CPU_NAME or llvm.get_host_cpu_name()
    if config.CPU_FEATURES is not None:
        return name, config.CPU_FEATURES
    try:
        return name, llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # not known of every processor
        return name, ""


def _base_directory() -> Path:
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "iitdask"
    home = Path.home()
    if not home.is_dir():
        raise FileNotFoundError(f"the home directory {str(home)!r} does not exist")
    return home / ".cache" / "iitdask"


def _private_directory(path: Path) -> Path:
    """Return a directory, made if need be, in which nobody else can put or exchange code.

    OSError if it cannot be made, or if others can write to it or rename what leads to it.
    """
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    path = path.resolve()  # what is checked is what is used, wherever links point later
    if hasattr(os, "getuid"):
        _require_private(path)
        path.chmod(0o700)  # so that it does not matter who may write to the folders in it
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{str(path)!r} cannot be written")
    return path


def _require_private(path: Path) -> None:
    user = os.getuid()
    for folder in (path, *path.parents):
        about = folder.stat()
        if about.st_uid not in ({user} if folder == path else {user, *_system_users()}):
            raise PermissionError(f"{str(folder)!r} belongs to another user")
        # In a folder with the sticky bit nobody renames what belongs to others.
        is_sticky = folder != path and bool(about.st_mode & stat.S_ISVTX)
        is_alone = folder != path and _is_group_of_one(about.st_gid)
        writers = 0o002 if is_alone else 0o022
        if about.st_mode & writers and not is_sticky:
            raise PermissionError(f"others can write to {str(folder)!r}")


def _system_users() -> set[int]:
    """Return the users who may rename everything anyway."""
    try:
        ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        is_mapped = any(int(first) <= NOBODY < int(first) + int(n) for first, _, n in ranges)
    except (OSError, ValueError):
        is_mapped = True
    return {0} if is_mapped else {0, NOBODY}


def _is_group_of_one(number: int) -> bool:
    """Tell whether a group is this user's own, as many systems make one for everybody."""
    import grp  # noqa: PLC0415 not on every system
    import pwd  # noqa: PLC0415

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    is_own = number != 0 and number == user.pw_gid and group.gr_name == user.pw_name
    return is_own and set(group.gr_mem) <= {user.pw_name}


def _find_directory() -> Path | None:
    if os.environ.get(CACHE_VARIABLE) == "0":
        return None
    name = f"kernels-{_source_digest()}"
    try:
        return _private_directory(_base_directory() / name)
    except (OSError, RuntimeError, ValueError) as error:
        return _fallback_directory(name, error)


def _fallback_directory(name: str, reason: Exception) -> Path | None:
    """Return the directory that the processes of this run share, None if there can be none."""
    with suppress(OSError, ValueError):
        if given := os.environ.get(FALLBACK_VARIABLE):
            return _private_directory(Path(given).resolve(strict=True) / name)
    base = os.environ.get(CACHE_VARIABLE)
    place = f"{CACHE_VARIABLE}={quote(base)}" if base else "the cache of compiled kernels"
    warnings.warn(
        one_line(f"{place} cannot be used ({reason}); kernels are compiled anew for this run"),
        KernelCacheWarning,
        stacklevel=2,
    )
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="iitdask-"))
        _FALLBACKS[os.getpid()] = folder
        directory = _private_directory(folder / name)
        os.environ[FALLBACK_VARIABLE] = str(folder)
        return directory
    return None


_FALLBACKS: dict[int, Path] = {}
"""Directory that a process has made for itself and those it starts."""


@atexit.register
def remove_fallback_directory() -> None:
    """Remove the directory that this process made because its cache is not usable.

    Done when Python ends; a process that ends otherwise calls this before.
    """
    if folder := _FALLBACKS.get(os.getpid()):  # in a forked process there is none
        shutil.rmtree(folder, ignore_errors=True)


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
    """As ``inner``, for functions written apart that a kernel calls once: compiled as part of it.

    Whatever a kernel calls is otherwise optimised once more along with it: each level between the
    entry and the innermost loop costs seconds.
    """
    return _compile(function, _nrt=False, no_cpython_wrapper=True, inline="always")


def jitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave a function to Python where Python calls it; kernels that call it compile it with them.

    For what runs once a system and computes little: an entry from Python, with all that it unpacks
    and packs, would take longer to compile than it ever runs.
    """
    policy = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return register_jitable(**policy)(function)


def _compile(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    numba_: Any = numba  # its stubs know no no_cfunc_wrapper
    policy = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, **more}
    dispatcher = numba_.njit(**policy)(function)
    if _DIRECTORY is not None:
        with suppress(OSError, RuntimeError):
            dispatcher._cache = KernelCache(function, _DIRECTORY)
    return dispatcher  # type: ignore[no-any-return]


def is_family_compiled(family: str) -> bool:
    """Tell whether a family of kernels has been compiled into the cache before.

    Where files have been lost or cut since then, it has not.
    """
    if _DIRECTORY is None:
        return False
    content = read_checked(str(_DIRECTORY / f"{family}.warm"))
    if content is None:
        return False
    sizes = _file_sizes(_DIRECTORY)
    return all(
        _is_kept(path, size, sizes.get(path, -1)) for path, size in json.loads(content).items()
    )


def _is_kept(path: str, size: int, now: int) -> bool:
    """Tell whether a file has the size it had; an index grows when code is added."""
    return now >= size if path.endswith(".nbi") else now == size


def mark_family_compiled(family: str) -> None:
    """Note that a family of kernels is in the cache, and that all of it is on the disk."""
    if _DIRECTORY is None:
        return
    with suppress(OSError):
        for folder in {_DIRECTORY, *(path.parent for path in _DIRECTORY.rglob("*.nb?"))}:
            _sync_folder(folder)
        sizes = json.dumps(_file_sizes(_DIRECTORY)).encode()
        write_checked(str(_DIRECTORY / f"{family}.warm"), sizes)


def _file_sizes(directory: Path) -> dict[str, int]:
    with suppress(OSError):
        files = directory.rglob("*.nb?")
        return {str(path.relative_to(directory)): path.stat().st_size for path in files}
    return {}


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder: what it renames is on the disk without this
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def sole_compiler() -> Iterator[None]:
    """Wait until no other process on this machine compiles for the same cache.

    Of a disk that knows no locks, or a process that holds one for minutes, nobody waits.
    """
    if _DIRECTORY is None:
        yield
        return
    with locked_folder(_DIRECTORY, COMPILE_SECONDS):
        yield


def pack_kernels() -> bytes | None:
    """Return all compiled kernels as an archive; None if none are kept."""
    return None if _DIRECTORY is None else pack_folder(_DIRECTORY)


def unpack_kernels(archive: bytes) -> bool:
    """Put the kernels of an archive where this process looks for them.

    False if it cannot be: they are of other sources or versions, or for another processor.
    """
    return _DIRECTORY is not None and unpack_folder(archive, _DIRECTORY)


def write_archive(folder: Path) -> str | None:
    """Write all compiled kernels into a folder of this user's own; return the SHA-256 of the file.

    None if no kernels are kept; OSError where others could exchange the file.
    """
    archive = pack_kernels()
    if archive is None or _DIRECTORY is None:
        return None
    write_checked(str(_private_directory(folder) / f"{_DIRECTORY.name}.zip"), archive)
    return hashlib.sha256(archive).hexdigest()


def adopt_archive(folder: Path, sha256: str) -> bool:
    """Unpack the kernels that `write_archive` wrote; False if they are not those, or of no use.

    OSError if the folder is not this user's own alone.
    """
    if _DIRECTORY is None:
        return False
    archive = read_checked(str(_private_directory(folder) / f"{_DIRECTORY.name}.zip"))
    # Before anything of it is looked at.
    if archive is None or hashlib.sha256(archive).hexdigest() != sha256:
        return False
    return unpack_kernels(archive)


class _CompileClock(event.Listener):
    """Adds up the seconds in which a thread compiled kernels, loaded them or waited for that."""

    def __init__(self) -> None:
        self.threads = threading.local()

    def on_start(self, event: Any) -> None:  # noqa: ARG002 its interface
        depth = getattr(self.threads, "depth", 0)
        if not depth:
            self.threads.started = time.perf_counter()
        self.threads.depth = depth + 1

    def on_end(self, event: Any) -> None:  # noqa: ARG002 its interface
        depth = getattr(self.threads, "depth", 0) - 1
        if depth < 0:  # it began before anybody listened
            return
        self.threads.depth = depth
        if not depth:
            spent = time.perf_counter() - self.threads.started
            self.threads.seconds = compile_seconds() + spent


_CLOCK = _CompileClock()
event.register("numba:compiler_lock", _CLOCK)


def compile_seconds() -> float:
    """Return the seconds that this thread has spent on compiling or loading kernels so far."""
    return float(getattr(_CLOCK.threads, "seconds", 0.0))
