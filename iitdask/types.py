"""Types of arrays that many modules name."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Table = NDArray[np.float64]  # Probabilities or other numbers
Mask = NDArray[np.bool_]
