"""Types of NumPy arrays, for annotations; their shapes and units stand beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
"""Real numbers of any width."""
