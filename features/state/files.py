"""The files of a state: arrays in segments, base first, that change in one step or not at all.

`state.json` lists the segments, each a folder of plain arrays, and says of what they are the state.
A new segment is written and synced first, then a new list, which takes the place of the former. A
writer that is killed leaves the former state; what it left lying is removed by the next.
"""

import json
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

LIST = "state.json"
FORMAT = 1
SEGMENT = "segment-"
ASIDE = "aside-"

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
Sync: TypeAlias = Callable[[Iterable[Path], Iterable[Path]], None]  # files, then further folders


class StateError(ValueError):
    """There is no state that can be used: whoever keeps it makes it again from the lake."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Of what a state is the state: fingerprints of all it depends on, and how far it has read.

    `lake` is the identity of the tables; `transactions` and `labels` are their Delta versions.
    """

    declarations: str
    lake: str
    rates: str
    ip_data: str
    transactions: int
    labels: int


@dataclass(frozen=True, kw_only=True)
class State:
    """Segments of arrays, base first, that may be read and not written, and what they stand for."""

    stamp: Stamp
    segments: Sequence[Arrays]


def why_rebuild(kept: Stamp, wanted: Stamp) -> str:
    """Say in one line why a state cannot go on to what is wanted; empty where it can.

    It goes on where the lake alone has grown.

    >>> own = Stamp(
    ...     declarations="d", lake="l", rates="r", ip_data="2026-11", transactions=4, labels=2
    ... )
    >>> why_rebuild(own, own)
    ''
    """
    pairs = zip(asdict(kept).items(), asdict(wanted).values(), strict=True)
    reasons = []
    for (name, before), now in pairs:
        is_version = isinstance(before, int)
        if is_version and before > now:
            reasons.append(f"it has read version {before} of {name}, the lake has {now}")
        elif not is_version and before != now:
            reasons.append(f"{name.replace('_', ' ')} changed from {before} to {now}")
    return "; ".join(reasons)


def write_state(folder: Path, stamp: Stamp, arrays: Arrays, *, keep: int, sync: Sync) -> None:
    """Keep the first segments of a state, so many, and put one of these arrays behind them.

    With `keep=0` it is a state of its own, with 1 a tail upon a base. One writer at a time: the
    caller holds the lock of the home. Raises StateError where there are not so many segments, and
    OSError where the disk does not take them: the former state stays.
    """
    kept = _whole(folder)[0]["segments"][:keep] if keep else []
    if len(kept) < keep:
        raise StateError(
            f"the state in {folder} has {len(kept)} segments, not the {keep} to go on from; "
            "remove that folder and run the command again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unlisted(folder)
    segment = _write_segment(folder, arrays, sync)
    content = {"format": FORMAT, "stamp": asdict(stamp), "segments": [*kept, segment]}
    aside = folder / f"{ASIDE}{uuid.uuid4().hex}"
    aside.write_text(json.dumps(content))
    sync([aside], [folder.parent])
    aside.replace(folder / LIST)
    sync([folder / LIST], [])
    _remove_unlisted(folder)


def open_state(folder: Path) -> State:
    """Map the arrays of a state into memory; their bytes are read once they are used.

    Raises StateError where there is no state, or one that is not whole.
    """
    try:
        return _whole(folder)[1]
    except StateError:  # perhaps a writer has put another in its place meanwhile
        return _whole(folder)[1]


def check_state(folder: Path) -> None:
    """Read all bytes of a state; raises StateError where any has changed since it was written."""
    for segment in _whole(folder)[0]["segments"]:
        for name, about in segment["arrays"].items():
            path = folder / segment["name"] / name
            if _checksum(_mapped(path, about)) != about["crc32"]:
                raise StateError(f"{path} has changed since it was written")


def written(table: pa.Table) -> npt.NDArray[np.uint8]:
    """An Arrow table as the bytes of its stream, which can be mapped into memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=max(table.num_rows, 1))
    return np.frombuffer(sink.getvalue(), np.uint8)


def read_back(data: npt.NDArray[np.uint8]) -> pa.Table:
    """The table that `written` made into bytes; nothing is copied."""
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()


def _whole(folder: Path) -> tuple[dict[str, Any], State]:
    listed = _listed(folder)
    try:
        stamp = Stamp(**listed["stamp"])
        segments = [_map_segment(folder, segment) for segment in listed["segments"]]
    except (KeyError, TypeError) as error:
        raise StateError(f"{folder / LIST} lacks or misnames {error}") from error
    return listed, State(stamp=stamp, segments=segments)


def _listed(folder: Path) -> dict[str, Any]:
    path = folder / LIST
    try:
        listed: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise StateError(f"there is no state of features in {folder} yet") from error
    except ValueError as error:
        raise StateError(f"{path} is not the list of a state: {error}") from error
    found = listed.get("format") if isinstance(listed, dict) else None
    if found != FORMAT:
        raise StateError(f"{path} has format {found}, this release reads {FORMAT}")
    return listed


def _write_segment(folder: Path, arrays: Arrays, sync: Sync) -> dict[str, Any]:
    own = folder / f"{SEGMENT}{uuid.uuid4().hex}"
    own.mkdir()
    about: dict[str, Any] = {}
    for name, given in arrays.items():
        values = np.ascontiguousarray(given).reshape(given.shape)
        if values.dtype.hasobject:
            raise TypeError(f"{name} holds objects of Python; a state keeps numbers and bytes")
        # NumPy's own writing does not say that the disk is full
        (own / name).write_bytes(_bytes(values).data)
        about[name] = {
            "dtype": values.dtype.str,
            "shape": values.shape,
            "crc32": _checksum(values),
        }
    sync([own / name for name in arrays], [own, folder])
    return {"name": own.name, "arrays": about}


def _map_segment(folder: Path, segment: Mapping[str, Any]) -> Arrays:
    own = folder / segment["name"]
    return {name: _mapped(own / name, about) for name, about in segment["arrays"].items()}


def _mapped(path: Path, about: Mapping[str, Any]) -> npt.NDArray[Any]:
    dtype, shape = np.dtype(about["dtype"]), tuple(about["shape"])
    wanted = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    try:
        found = path.stat().st_size
    except FileNotFoundError as error:
        raise StateError(f"{path} is gone, which the state lists") from error
    if found != wanted:
        raise StateError(f"{path} has {found} bytes, the state lists {wanted}")
    if not wanted:  # nothing cannot be mapped
        return np.empty(shape, dtype)
    # copied on writing, which nobody does: compiled loops know arrays that may be written to
    return np.memmap(path, dtype, mode="c", shape=shape).view(np.ndarray)


def _checksum(values: npt.NDArray[Any]) -> int:
    return zlib.crc32(_bytes(values).data) if values.size else 0


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return values.reshape(-1).view(np.uint8)


def _remove_unlisted(folder: Path) -> None:
    """Remove what no list names: segments of before, and what a killed writer left."""
    try:
        named = {segment["name"] for segment in _whole(folder)[0]["segments"]}
    except StateError:  # none is whole, and so none is used
        named = set()
    for path in folder.iterdir():
        if path.name.startswith(SEGMENT) and path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(ASIDE):
            path.unlink(missing_ok=True)
