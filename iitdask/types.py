"""Types of arrays, and of states and units as users give them, that many modules name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Table = NDArray[np.float64]  # Probabilities or other numbers
Mask = NDArray[np.bool_]
StateLike = str | Sequence[int] | Sequence[str] | Array | Mapping[str, int] | Mapping[int, int]
"""State of all units: ``"100"``, ``(1, 0, 0)`` or ``{"A": 1, "B": 0, "C": 0}``."""
UnitsLike = str | int | Iterable[str] | Iterable[int]
"""Set of units: labels, unit numbers, or ``"AB"``."""
WindowLike = StateLike | Sequence[StateLike]
"""States of all units, oldest first, or one state."""
