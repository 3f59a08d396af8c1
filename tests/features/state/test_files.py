"""A state's files: whole or as before, whatever happens to the writer."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from features.state.files import (
    Arrays,
    Stamp,
    StateError,
    check_state,
    open_state,
    why_rebuild,
    write_state,
)

STAMP = Stamp(declarations="d1", lake="l1", rates="r1", ip_data="2026-11", transactions=4, labels=2)
BASE: Arrays = {"order": np.arange(5, dtype=np.int32), "sums": np.arange(6.0).reshape(2, 3)}
TAIL: Arrays = {"order": np.array([7], np.int32), "sums": np.empty((2, 0))}


def sync(files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Make sure of nothing: these tests cut no power."""


def put(folder: Path, stamp: Stamp = STAMP, keep: int = 0) -> None:
    write_state(folder, stamp, TAIL if keep else BASE, keep=keep, sync=sync)


def test_a_tail_stands_behind_its_base(tmp_path: Path) -> None:
    put(tmp_path / "state")
    put(tmp_path / "state", replace(STAMP, transactions=5), keep=1)
    state = open_state(tmp_path / "state")
    check_state(tmp_path / "state")
    assert state.stamp.transactions == 5
    for kept, written in zip(state.segments, [BASE, TAIL], strict=True):
        assert kept.keys() == written.keys()
        for name in written:
            np.testing.assert_array_equal(kept[name], written[name], strict=True)


def test_a_new_tail_takes_the_place_of_the_former(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, keep=1)
    put(tmp_path, keep=1)
    assert len(open_state(tmp_path).segments) == 2
    assert len([*tmp_path.glob("segment-*")]) == 2


def test_a_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    put(tmp_path)
    opened = open_state(tmp_path)
    write_state(tmp_path, STAMP, TAIL, keep=0, sync=sync)
    np.testing.assert_array_equal(opened.segments[0]["sums"], BASE["sums"])


@settings(max_examples=25)
@given(
    values=arrays_of.arrays(
        st.sampled_from([np.int32, np.int64, np.float64, np.bool_]),
        arrays_of.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5),
    )
)
def test_every_array_comes_back_bit_for_bit(
    values: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    write_state(folder, STAMP, {"values": values.T}, keep=0, sync=sync)
    check_state(folder)
    (kept,) = open_state(folder).segments
    assert kept["values"].dtype == values.dtype
    assert kept["values"].shape == values.T.shape
    assert kept["values"].tobytes() == values.T.tobytes()


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from features.state.files import Stamp, write_state
    folder, last = Path(sys.argv[1]), int(sys.argv[2])
    calls = 0
    def sync(files, folders):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
    stamp = Stamp(
        declarations="d1", lake="l1", rates="r1", ip_data="2026-11", transactions=9, labels=2
    )
    write_state(folder, stamp, {"order": np.arange(3)}, keep=1, sync=sync)
"""


@pytest.mark.parametrize(
    ("step", "version"),
    [(1, 4), (2, 4), (3, 9)],
    ids=["with a segment written", "with a list aside", "with the list in place"],
)
def test_a_killed_writer_leaves_one_whole_state(tmp_path: Path, step: int, version: int) -> None:
    put(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(step)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(command, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    check_state(tmp_path)
    state = open_state(tmp_path)
    assert state.stamp.transactions == version
    np.testing.assert_array_equal(state.segments[0]["order"], BASE["order"])
    put(tmp_path, keep=1)
    assert len([*tmp_path.iterdir()]) == 3  # the list, base and tail: nothing is left over


def test_all_is_synced_before_it_is_named(tmp_path: Path) -> None:
    synced: set[str] = set()

    def watch(files: Iterable[Path], folders: Iterable[Path]) -> None:
        synced.update(path.name for path in files)
        if "state.json" not in synced:
            assert not (tmp_path / "state.json").exists()

    write_state(tmp_path, STAMP, BASE, keep=0, sync=watch)
    assert {*BASE, "state.json"} < synced


def test_a_full_disk_leaves_the_former_state(tmp_path: Path) -> None:
    def full(files: Iterable[Path], folders: Iterable[Path]) -> None:
        raise OSError(28, "No space left on device")

    put(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        write_state(tmp_path, STAMP, TAIL, keep=0, sync=full)
    np.testing.assert_array_equal(open_state(tmp_path).segments[0]["sums"], BASE["sums"])


def test_no_state_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state of features in"):
        open_state(tmp_path)


def test_a_base_that_is_not_there_is_not_gone_on_from(tmp_path: Path) -> None:
    put(tmp_path)
    with pytest.raises(StateError, match="has 1 segments, not the 2"):
        put(tmp_path, keep=2)


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    put(tmp_path)
    (own,) = tmp_path.glob("segment-*/sums")
    os.truncate(own, 40)
    with pytest.raises(StateError, match="sums has 40 bytes, the state lists 48"):
        open_state(tmp_path)


def test_a_file_that_is_gone_is_found(tmp_path: Path) -> None:
    put(tmp_path)
    (own,) = tmp_path.glob("segment-*/sums")
    own.unlink()
    with pytest.raises(StateError, match="sums is gone, which the state lists"):
        open_state(tmp_path)


def test_nothing_is_put_upon_a_base_that_was_cut(tmp_path: Path) -> None:
    put(tmp_path)
    (own,) = tmp_path.glob("segment-*/sums")
    os.truncate(own, 40)
    with pytest.raises(StateError, match="sums has 40 bytes, the state lists 48"):
        put(tmp_path, keep=1)


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    put(tmp_path)
    (own,) = tmp_path.glob("segment-*/sums")
    flipped = bytearray(own.read_bytes())
    flipped[9] ^= 1
    own.write_bytes(flipped)
    with pytest.raises(StateError, match="sums has changed since it was written"):
        check_state(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not the list of a state"),
        ("[]", "has format None, this release reads 1"),
        ('{"format": 2}', "has format 2, this release reads 1"),
        ('{"format": 1}', "lacks or misnames 'stamp'"),
    ],
    ids=["empty", "another thing", "a later format", "lacking"],
)
def test_a_list_that_is_none_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StateError, match=sentence):
        open_state(tmp_path)
    put(tmp_path)
    check_state(tmp_path)


def test_objects_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="names holds objects of Python"):
        write_state(tmp_path, STAMP, {"names": np.array(["a"], object)}, keep=0, sync=sync)


def test_a_lake_that_grew_is_gone_on_with() -> None:
    assert why_rebuild(STAMP, replace(STAMP, transactions=9, labels=3)) == ""


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"declarations": "d2"}, "declarations changed from d1 to d2"),
        ({"lake": "l2"}, "lake changed from l1 to l2"),
        ({"rates": "r2"}, "rates changed from r1 to r2"),
        ({"ip_data": "2026-12"}, "ip data changed from 2026-11 to 2026-12"),
        ({"transactions": 3}, "it has read version 4 of transactions, the lake has 3"),
        ({"labels": 1}, "it has read version 2 of labels, the lake has 1"),
    ],
    ids=["declarations", "lake", "rates", "ip data", "transactions", "labels"],
)
def test_a_difference_rebuilds_and_says_so(changed: dict[str, object], reason: str) -> None:
    said = why_rebuild(STAMP, Stamp(**{**vars(STAMP), **changed}))
    assert said == reason
