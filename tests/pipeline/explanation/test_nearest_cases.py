"""The nearest confirmed cases: found as by hand, ties by id, never the transaction itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.explanation.nearest_cases import MAX_OF_A_KIND, CaseIndex
from pipeline.models.layered.stage_features import StageFeatures
from tests.small_network import confirmed_cases, keyed_rows, layered

MODEL = layered(networks=2)
ROWS = keyed_rows()


def kept(is_fraud: list[int], *, rows: pa.Table = ROWS) -> CaseIndex:
    """Cases of these rows, the given places being frauds; the later a row, the higher its score."""
    places = np.arange(rows.num_rows)
    return CaseIndex.of(
        MODEL,
        rows,
        np.isin(places, is_fraud),
        places.astype(float),
        pa.array(["EUR"] * rows.num_rows),
    )


def ids(cases: CaseIndex, *, fraud: bool) -> list[str]:
    names: list[str] = cases.facts.filter(pc.equal(cases.facts["is_fraud"], fraud))[
        "transaction_id"
    ].to_pylist()
    return names


def with_ids(names: list[str], rows: pa.Table) -> pa.Table:
    return rows.set_column(0, "transaction_id", pa.array(names))


def test_all_frauds_are_kept_and_as_many_of_the_highest_scored_others() -> None:
    cases = kept([3, 399, 200])
    assert (ids(cases, fraud=True), ids(cases, fraud=False)) == (
        ["t003", "t200", "t399"],
        ["t396", "t397", "t398"],
    )
    first = cases.facts.slice(0, 1).to_pylist()[0]
    row = ROWS.slice(3, 1).to_pylist()[0]
    assert (first["event_time"], first["amount"], first["currency"]) == (
        row["event_time"],
        row["paid"],
        "EUR",
    )


def test_of_more_frauds_than_there_is_room_for_the_latest_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.explanation.nearest_cases.MAX_OF_A_KIND", 2)
    assert ids(kept([3, 200, 399]), fraud=True) == ["t200", "t399"]


def test_the_nearest_are_those_of_the_scaled_states_distances() -> None:
    cases, asked = (
        confirmed_cases(MODEL),
        with_ids([f"q{row}" for row in range(30)], keyed_rows(30, seed=9)),
    )
    one = layered(networks=1)
    states = StageFeatures(one).transform(
        ROWS.take([int(name[1:]) for name in cases.facts["transaction_id"].to_pylist()])
    )
    scaled = (states - states.mean(axis=0)) / states.std(axis=0)
    query = (StageFeatures(one).transform(asked) - states.mean(axis=0)) / states.std(axis=0)
    by_hand = np.sqrt(((query[:, None] - scaled[None]) ** 2).mean(axis=2))
    for row, near in enumerate(cases.nearest(MODEL, asked)):
        np.testing.assert_allclose(
            [case.distance for case in near], np.sort(by_hand[row])[:3], atol=5e-3
        )


def test_a_transaction_is_never_its_own_neighbour_but_its_twin_is() -> None:
    cases = confirmed_cases(MODEL)
    (own,), (twin,) = (
        cases.nearest(MODEL, rows)
        for rows in (ROWS.slice(4, 1), with_ids(["twin"], ROWS.slice(4, 1)))
    )
    assert "t004" not in [case.transaction_id for case in own]
    assert (twin[0].transaction_id, twin[0].distance, twin[0].is_fraud) == ("t004", 0.0, True)
    assert twin[1:] == own[:2]


def test_cases_that_are_as_near_stand_by_their_id() -> None:
    same = pa.concat_tables([ROWS.slice(0, 1)] * 6)
    cases = kept([0, 1, 2], rows=with_ids(["e", "b", "d", "a", "f", "c"], same))
    ((first, second, third),) = cases.nearest(MODEL, ROWS.slice(7, 1))
    assert [case.transaction_id for case in (first, second, third)] == ["a", "b", "c"]
    assert first.distance == second.distance == third.distance


@pytest.mark.parametrize("frauds", [0, 1])
def test_of_fewer_than_three_cases_all_are_told(frauds: int) -> None:
    near = kept(list(range(frauds))).nearest(MODEL, ROWS.slice(frauds, 2))
    assert [len(cases) for cases in near] == [2 * frauds] * 2
    assert [len(cases) for cases in CaseIndex.none().nearest(MODEL, ROWS.slice(0, 3))] == [0, 0, 0]


def test_a_row_alone_has_the_neighbours_it_has_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    cases, asked = confirmed_cases(MODEL), keyed_rows(20, seed=9)
    whole = cases.nearest(MODEL, asked)
    monkeypatch.setattr("pipeline.explanation.nearest_cases.ROWS_AT_ONCE", 1)
    for alone, near in zip(cases.nearest(MODEL, asked), whole, strict=True):
        assert [case.transaction_id for case in alone] == [case.transaction_id for case in near]
        np.testing.assert_allclose(
            [c.distance for c in alone], [c.distance for c in near], atol=5e-3
        )


def test_the_most_cases_of_a_bundle_are_less_than_two_megabytes(tmp_path: Path) -> None:
    """States of the default width, 64, and ids as long as a UUID."""
    count, random = 2 * MAX_OF_A_KIND, np.random.default_rng(1)
    facts = confirmed_cases(MODEL).facts.take([0] * count)
    facts = facts.set_column(
        0, "transaction_id", pa.array([f"{place:036}" for place in range(count)])
    )
    states = random.normal(size=(count, 64)).astype(np.float16)
    CaseIndex(
        facts=facts, states=states, middle=np.zeros(64, np.float32), spread=np.ones(64, np.float32)
    ).to_files(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_000_000
