"""Backtest: each row of the test span, once a model, scored by what was known as it began."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation.time_split import Split
from pipeline.lake.snapshot import NoDataError
from pipeline.train.backtest import backtest, write_scores
from tests.small_world import BUILD_CONFIG, MODELS, QUICK, START, World

STAGES = ["stage_amount", "stage_clock", "stage_retailer", "stage_classical"]


def days(*moments: float) -> Split:
    since, until, test_from, test_until = (START + timedelta(days=day) for day in moments)
    return Split(train_from=since, train_until=until, test_from=test_from, test_until=test_until)


SPLIT = days(0, 21, 28, 33)


def run(world: World, split: Split = SPLIT, models: tuple[str, ...] = MODELS) -> pd.DataFrame:
    return backtest(
        world.portfolio, world.lake, split, models, build_config=BUILD_CONFIG, config=QUICK
    )


@pytest.fixture(scope="module")
def scores(world: World) -> pd.DataFrame:
    return run(world)


def test_each_model_scores_every_row_of_the_test_span_and_no_other(
    world: World, scores: pd.DataFrame
) -> None:
    rows = world.transactions.to_pandas()
    inside = (rows["as_of"] >= SPLIT.test_from) & (rows["as_of"] < SPLIT.test_until)
    expected = sorted(rows.loc[inside, "transaction_id"])
    for model in MODELS:
        assert sorted(scores.loc[scores["model"] == model, "transaction_id"]) == expected


def test_the_columns_are_those_that_are_promised(scores: pd.DataFrame) -> None:
    assert list(scores) == ["transaction_id", "model", "score", "logit", *STAGES]


def test_only_the_layered_network_tells_its_stages(world: World, scores: pd.DataFrame) -> None:
    layered = scores["model"] == "layered"
    assert scores.loc[layered, STAGES].notna().all(axis=None)
    assert scores.loc[~layered, STAGES].isna().all(axis=None)
    assert list(run(world, models=("logistic",))) == ["transaction_id", "model", "score", "logit"]


def test_a_score_is_a_calibrated_probability(scores: pd.DataFrame) -> None:
    """One rising affine map of the logit a model: found again from two rows, it holds for all."""
    for _, rows in scores.groupby("model"):
        calibrated = np.log(rows["score"] / (1 - rows["score"]))
        a, b = np.polyfit(rows["logit"], calibrated, 1)
        assert a > 0
        np.testing.assert_allclose(a * rows["logit"] + b, calibrated, atol=1e-6)
        assert rows["score"].mean() < 0.3


def test_the_weeks_after_the_test_span_change_nothing(world: World, scores: pd.DataFrame) -> None:
    """A test span cut short gives the same scores for what is left of it.

    The training does not see the test span.
    """
    shorter = run(world, days(0, 21, 28, 30)).set_index("transaction_id")
    shorter = shorter[shorter["model"] == "layered"]
    longer = scores[scores["model"] == "layered"].set_index("transaction_id").loc[shorter.index]
    pd.testing.assert_frame_equal(shorter, longer, atol=1e-5)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            days(0, 21, 400, 401),
            "no transactions from 2026-02-05 00:00:00 to 2026-02-06 00:00:00 UTC; name other spans",
        ),
        (days(-9, -8, 28, 33), "both frauds and legitimate rows are needed, found 0 rows"),
        (
            days(0, 0.01, 28, 33),
            r"both frauds and legitimate rows are needed, found \d+ rows, all legitimate",
        ),
    ],
    ids=["nothing to test", "nothing to train on", "no fraud to train on"],
)
def test_spans_without_what_is_needed_are_refused(world: World, split: Split, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(world, split, models=("layered",))


def test_a_span_before_all_transactions_is_refused(world: World) -> None:
    with pytest.raises(NoDataError, match="has no transactions before"):
        run(world, days(-30, -20, -10, -9))


def test_an_unknown_model_is_refused_before_any_work(world: World) -> None:
    with pytest.raises(ValueError, match="there is no model 'magic'"):
        run(world, models=("layered", "magic"))


def test_a_file_is_written_whole(scores: pd.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "new" / "scores.parquet"
    write_scores(scores, file)
    pd.testing.assert_frame_equal(pq.read_table(file).to_pandas(), scores, check_dtype=False)
    assert [one.name for one in file.parent.iterdir()] == ["scores.parquet"]


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(
    scores: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scores.parquet"
    write_scores(scores, file)
    before = file.read_bytes()

    def full(_: object, where: Path) -> None:
        where.write_bytes(b"PAR1 and then the disk was full")
        raise OSError("no space left")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="no space left"):
        write_scores(scores, file)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["scores.parquet"]
