"""What worker processes find in their environment."""

from __future__ import annotations

__all__ = ["worker_environment"]


def worker_environment() -> dict[str, str]:
    """One thread per kernel call: all parallelism is Dask's, nested pools only get in the way."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return dict.fromkeys(names, "1")
