"""The arrays of the kernel, by their meaning, and how they come from Arrow and go there."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes: TypeAlias = npt.NDArray[np.int32]
Moments: TypeAlias = npt.NDArray[np.int64]
Positions: TypeAlias = npt.NDArray[np.int32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Answer: TypeAlias = tuple[Doubles | Moments, Flags]  # values, and where they are known


def column(values: npt.NDArray[Any], known: Flags) -> pa.Array:
    """Make an Arrow array of values, null where they are not known; the values are not copied."""
    bits = np.packbits(known, bitorder="little")
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(bits), pa.py_buffer(values)])


def values_of(found: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The values of an Arrow column of numbers; 0 where they are null."""
    filled: npt.NDArray[Any] = found.fill_null(0).to_numpy()
    return filled


def known_of(found: pa.ChunkedArray) -> Flags:
    """Where an Arrow column has a value."""
    known: Flags = found.is_valid().to_numpy()
    return known
