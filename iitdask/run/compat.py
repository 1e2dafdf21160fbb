"""Private parts of dependencies, each with a test in ``tests/test_compat.py``.

A release of a dependency that moves one of them breaks its test and this module, nothing else.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

from zarr.core.sync import sync

__all__ = ["run_coroutine"]

T = TypeVar("T")


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop to which zarr's remote stores belong."""
    return sync(coroutine)
