"""Arrays by what they hold, as types."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


BoolArray = npt.NDArray[np.bool_]


IntArray = npt.NDArray[np.int64]


Moments = npt.NDArray[np.datetime64]
