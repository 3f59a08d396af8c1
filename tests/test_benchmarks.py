"""What the S-FFSD benchmark hands to strata: rows with a minute each, labels that may be known."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from benchmarks import gpu
from benchmarks.baskets import baskets
from benchmarks.leftovers import leftovers_of_state
from benchmarks.sffsd import START, UNIT, Task, judged, main, prepare, read_task
from benchmarks.speed import differences
from benchmarks.states import are_equal
from benchmarks.tasks import published_features
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
from tests.ingest_examples import NOW

# five labelled rows: three train, the test begins at the row whose Time is 5
LABELS = [0, 2, 1, 0, 2, 0, 1]
TEST_FROM = START + 5 * UNIT


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = {"Time": range(7), "Source": list("aabbaba"), "Target": ["t"] * 7, "Amount": [1.0] * 7}
    file = tmp_path / "transactions.parquet"
    pd.DataFrame(rows | {"Location": ["l"] * 7, "Type": ["p"] * 7, "Labels": LABELS}).to_parquet(
        file
    )
    return file


def test_the_test_part_begins_behind_sixty_percent_of_the_labelled_rows(source: Path) -> None:
    task = read_task(source)
    assert task.test_from == TEST_FROM
    assert task.test["transaction_id"].tolist() == ["5", "6"]


def test_within_training_the_test_part_is_never_read(source: Path) -> None:
    task = read_task(source, within_training=True)
    assert task.rows["transaction_id"].tolist() == ["0", "1", "2", "3", "4"]
    assert task.test["transaction_id"].tolist() == ["2", "3"]  # 60 % of three labelled rows is one


@pytest.mark.parametrize(
    ("way", "known"),
    [
        ("never", {"0": TEST_FROM, "2": TEST_FROM, "3": TEST_FROM}),
        (
            "delayed",
            {str(time): START + time * UNIT + pd.Timedelta(days=7) for time in (0, 2, 3, 5, 6)},
        ),
    ],
)
def test_the_lake_knows_the_labels_of_each_way_and_no_more(
    source: Path, tmp_path: Path, way: str, known: dict[str, pd.Timestamp]
) -> None:
    portfolio = read_portfolio(prepare(read_task(source), way, tmp_path / "source"))
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    assert ingest(portfolio, lake, now=NOW).taken == 7
    labels = lake.read("labels").to_pandas()
    assert dict(zip(labels["transaction_id"], labels["known_at"], strict=True)) == known


def test_a_row_without_a_score_is_not_left_out_of_the_figures(source: Path) -> None:
    task: Task = read_task(source)
    scores = pd.DataFrame({"transaction_id": ["5"], "model": ["xgboost"], "score": [0.5]})
    with pytest.raises(KeyError, match="6"):
        judged(task.test, scores, ["xgboost"])


def test_without_the_data_the_benchmark_says_where_it_looked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["sffsd.py", "--shared", str(tmp_path)])
    with pytest.raises(
        SystemExit,
        match=rf"{tmp_path}/data/s-ffsd/transactions\.parquet, and there is no such file; name the",
    ):
        main()


def written(to: Path, **columns: list[object]) -> Path:
    pd.DataFrame(columns).to_parquet(to)
    return to


def test_answers_of_the_features_benchmark_agree_only_where_they_are_equal(tmp_path: Path) -> None:
    told = {"transaction_id": ["a", "b", "c"], "count": [1.0, 2.0, None], "kind": ["x", None, "y"]}
    ours = written(tmp_path / "ours.parquet", **told)
    near = told | {"count": [1.0 + 1e-12, 2.0, None]}
    assert differences(ours, written(tmp_path / "near.parquet", **near)) == {}
    some = {name: values[:1] for name, values in told.items()}
    assert differences(ours, written(tmp_path / "some.parquet", **some)) == {}
    other = {
        "transaction_id": ["a", "b", "d"],
        "count": [1.0, 3.0, None],
        "kind": ["x", "y", "y"],
        "more": [1.0, 1.0, 1.0],
    }
    found = differences(ours, written(tmp_path / "other.parquet", **other))
    assert found == {"transaction_id": 1, "count": 1, "kind": 2, "more": 3}


def test_features_are_equal_only_where_every_value_is() -> None:
    told = {"transaction_id": ["a", "b"], "count": [1.0, None], "kind": ["x", None]}
    turned = {name: values[::-1] for name, values in told.items()}
    near = told | {"count": [1.0 + 1e-12, None]}
    assert are_equal(pa.table(told), pa.table(turned))
    assert are_equal(pa.table(told), pa.table(near))
    for name, values in {"count": [1.1, None], "kind": ["x", "y"]}.items():
        assert not are_equal(pa.table(told), pa.table(told | {name: values}))
    assert not are_equal(pa.table(told), pa.table(told | {"count": [1.0, 0.0]}))
    assert not are_equal(pa.table(told), pa.table(told).slice(1))


def test_what_the_list_of_a_state_does_not_name_was_left(tmp_path: Path) -> None:
    state = tmp_path / "world"
    (state / "segment-1").mkdir(parents=True)
    (state / "state.json").write_text('{"segments": [{"name": "segment-1"}]}')
    assert list(leftovers_of_state(tmp_path)) == []
    (state / "aside-2").touch()
    assert list(leftovers_of_state(tmp_path)) == [state / "aside-2"]


def test_published_features_count_the_payment_itself_and_a_terminals_past_until_a_week_before(
    tmp_path: Path,
) -> None:
    """Monday the 2nd.

    The fraud at the terminal is known a week later, when the account pays there again.
    """
    file = tmp_path / "transactions.parquet"
    moments = ["2018-07-02 03:00", "2018-07-02 12:00", "2018-07-09 12:00", "2018-07-14 12:00"]
    rows = {
        "TRANSACTION_ID": range(4),
        "TX_DATETIME": pd.to_datetime(moments),
        "CUSTOMER_ID": [1, 1, 1, 2],
    }
    pd.DataFrame(
        rows | {"TERMINAL_ID": 5, "TX_AMOUNT": [10.0, 20.0, 60.0, 1.0], "TX_FRAUD": [0, 1, 0, 0]}
    ).to_parquet(file)
    found = published_features(file).to_pandas().set_index("transaction_id").loc[list("0123")]
    assert found["TX_DURING_NIGHT"].tolist() == [1, 0, 0, 0]
    assert found["TX_DURING_WEEKEND"].tolist() == [0, 0, 0, 1]
    assert found["CUSTOMER_ID_NB_TX_1DAY_WINDOW"].tolist() == [1, 2, 1, 1]
    assert found["CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"].tolist() == [10.0, 15.0, 30.0, 1.0]
    assert found["TERMINAL_ID_NB_TX_1DAY_WINDOW"].tolist() == [0, 0, 2, 0]
    assert found["TERMINAL_ID_RISK_1DAY_WINDOW"].tolist() == [0.0, 0.0, 0.5, 0.0]
    assert found["TERMINAL_ID_RISK_7DAY_WINDOW"].tolist() == [0.0, 0.0, 0.5, 0.5]
    assert len(found.columns) == 1 + 15


def test_without_a_gpu_its_benchmark_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    gpu.main([])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("there is no GPU here")
    assert json.loads(said[-1]) == {"gpus": 0}


def test_baskets_are_the_same_from_a_seed_and_as_rare_as_promised() -> None:
    (one,), (again,) = (baskets(rows=20_000).folds for _ in range(2))
    assert one.train.equals(again.train)
    assert np.concatenate([one.y, one.truth]).mean() == pytest.approx(0.014, abs=0.003)
    assert len(set(one.accounts)) == one.train.num_rows
