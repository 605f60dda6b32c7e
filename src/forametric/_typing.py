"""Types that several modules use."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
NameArray = npt.NDArray[np.object_]  # of str
AnyArray = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]  # one image (height, width, 3), or several (n, height, width, 3)
PathLike = str | os.PathLike[str]
