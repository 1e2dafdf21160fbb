"""What worker processes find in their environment."""

from __future__ import annotations

__all__ = ["prologue", "worker_environment"]


def worker_environment() -> dict[str, str]:
    """One thread per kernel call: all parallelism is Dask's, nested pools only get in the way."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return dict.fromkeys(names, "1")


def prologue() -> list[str]:
    """Lines of a job script that set the same, and keep compiled kernels on the node's own disk.

    Many nodes that compile into one network directory harm each other. A directory that
    somebody else made is not used: compiled code is executed when it is loaded.
    """
    return [
        *(f"export {name}={value}" for name, value in worker_environment().items()),
        'if [ -z "${IITDASK_NUMBA_CACHE:-}" ]; then',
        '  IITDASK_NUMBA_CACHE="${TMPDIR:-/tmp}/iitdask-$(id -u)"',
        '  mkdir -p -m 700 "$IITDASK_NUMBA_CACHE" 2>/dev/null || true',
        '  [ -O "$IITDASK_NUMBA_CACHE" ] || IITDASK_NUMBA_CACHE=$(mktemp -d)',
        "  export IITDASK_NUMBA_CACHE",
        "fi",
    ]
