"""A set of hashes on disk says what a set in memory says, and never what is broken."""

from pathlib import Path

import numpy as np
import pytest

import pipeline.disk.hash_pages
from pipeline.disk.hash_pages import NOTE, read_hashes, write_hashes


@pytest.mark.parametrize("tail", [0, 700, 100_000], ids=["sorted in", "now and then", "in a tail"])
def test_it_has_what_was_put_in_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: int
) -> None:
    monkeypatch.setattr(pipeline.disk.hash_pages, "MAX_TAIL", tail)
    random, known, before = np.random.default_rng(1), set[int](), None
    for count in (0, 1, 511, 3, 2000):
        added = random.integers(0, 2**64, count, dtype=np.uint64)
        write_hashes(tmp_path, before, added, {"version": count})
        known |= set(added.tolist())
        before = read_hashes(tmp_path)
        assert before is not None
        assert before.marks == {"version": count}
        asked = np.concatenate([added, np.array(sorted(known), np.uint64), added + np.uint64(1)])
        assert before.has(asked).tolist() == [one in known for one in asked.tolist()]
    assert len(list(tmp_path.iterdir())) == 4  # no leftovers


@pytest.mark.parametrize("file", ["directory", "tail", NOTE])
def test_a_part_that_is_cut_makes_it_unknown(tmp_path: Path, file: str) -> None:
    write_hashes(tmp_path, None, np.arange(2000, dtype=np.uint64), {})
    write_hashes(tmp_path, read_hashes(tmp_path), np.array([5000], np.uint64), {})
    found = next(tmp_path.glob(f"{file}*"))
    found.write_bytes(found.read_bytes()[:-8])
    assert read_hashes(tmp_path) is None


def test_a_flipped_bit_of_a_page_is_an_error_and_no_answer(tmp_path: Path) -> None:
    write_hashes(tmp_path, None, np.arange(0, 2_000_000, 1000, dtype=np.uint64), {})
    pages = next(tmp_path.glob("pages-*"))
    content = bytearray(pages.read_bytes())
    content[5000] ^= 4
    pages.write_bytes(content)
    found = read_hashes(tmp_path)
    assert found is not None
    assert found.has(np.array([], np.uint64)).tolist() == []
    assert found.has(np.array([3000], np.uint64)).tolist() == [True]  # another page
    with pytest.raises(OSError, match="is not as it was written"):
        found.has(np.array([625_000], np.uint64))
    with pytest.raises(OSError, match="is not as it was written"):  # nor is it sorted in anew
        write_hashes(tmp_path, found, np.arange(200_000, dtype=np.uint64), {})
    pages.write_bytes(content[:4096])
    with pytest.raises(OSError, match="is cut"):
        found.has(np.array([1_999_000], np.uint64))
