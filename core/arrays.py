"""Types of arrays, and of the numbers that say how many share a batch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Numbers of images, activations and weights."""
Pixels = NDArray[np.uint8]
"""A picture, shape (height, width, 3), values 0 to 255."""
BatchSize = int | Literal["auto"]
"""Pairs that share a forward pass; auto: as many as suit the device."""
