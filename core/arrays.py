"""Types of arrays and batch sizes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Images, activations or weights."""
Pixels = NDArray[np.uint8]
"""A picture, shape (height, width, 3), or several pictures along a first axis; values 0 to 255."""
BatchSize = int | Literal["auto"]
"""Number of pairs that share a forward pass; auto: the number that suits the device."""
