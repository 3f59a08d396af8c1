"""The page of features and the picture of a window are those of the code, and show what it sees."""

import xml.etree.ElementTree as ET
from datetime import timedelta
from pathlib import Path

import pytest

from features.docs.page import DECLARED, EMAIL, columns, page, window
from features.docs.picture import (
    LATE,
    NOW,
    PAYMENTS,
    VERDICTS,
    Payment,
    Verdict,
    frauds_known,
    payments_seen,
    picture,
)
from features.groups.catalogue import GROUPS, portfolio_groups
from features.schema import BY_NAME
from tests.features.streams import DAY, START, built, stream_of

DOCS = Path(__file__).parents[3] / "docs"
JUDGED = START + 20 * DAY
RETAILER = portfolio_groups(["merchant_id"], order=("retailer",))


def test_the_page_is_what_the_code_declares() -> None:
    assert (DOCS / "features.md").read_text(encoding="utf-8") == page(), (
        "docs/features.md is stale; run make docs"
    )


def test_the_picture_on_the_page_is_the_one_the_code_draws() -> None:
    assert (DOCS / "window.svg").read_text(encoding="utf-8") == picture(), (
        "docs/window.svg is stale; run make docs"
    )
    assert "](window.svg)" in page()


def test_the_page_lists_every_shown_feature_once_and_no_hidden_one() -> None:
    listed = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert listed == [
        feature.name
        for group in (*GROUPS.values(), EMAIL)
        for feature in group.features
        if feature.shown
    ]


def test_every_row_of_the_page_has_its_six_cells() -> None:
    assert {line.count("|") for line in page().splitlines() if line.startswith("|")} == {7}


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("amount_paid", "–"),
        ("merchant_count_7d", "7d of `merchant_id`"),
        ("merchant_new_for_account", "90d of `account_id + merchant_id`"),
        ("receiver_outflow_1d", "1d of `counterparty_id as account_id`"),
        ("merchant_volume_ratio", "1d of `merchant_id`, 30d of `merchant_id`"),
        ("amount_high_14d", "14d of `account_id` over 90d of `account_id`"),
        ("merchant_known_frauds_7d", "7d of labels of `merchant_id`"),
        ("merchant_days_since_fraud", "90d of labels of `merchant_id`"),
        ("distance_from_last", "90d of `account_id`"),
    ],
    ids=[
        "none",
        "own",
        "pair",
        "another's",
        "of a fact",
        "over another",
        "labels",
        "fact of labels",
        "look-up",
    ],
)
def test_a_window_is_told_with_its_span_and_key(name: str, windows: str) -> None:
    assert window(DECLARED[name]) == windows


def test_a_feature_is_made_of_the_columns_below_its_windows() -> None:
    assert columns(DECLARED["account_age_days"]) & BY_NAME.keys() == {"account_opened_at"}
    assert columns(DECLARED["ip_new_accounts_1d"]) == {"ip_address", "account_id"}


def test_the_picture_shows_as_seen_what_the_windows_see() -> None:
    drawn = [*PAYMENTS, *LATE, *VERDICTS]
    rows, ledgers = [], []
    # each at a retailer of its own, where one more payment is judged
    for number, item in enumerate(drawn):
        rows += [
            _row(f"m{number}", item),
            {"as_of": JUDGED, "account_id": "judged", "amount": 1.0, "merchant_id": f"m{number}"},
        ]
        ledgers += [_ledger(item), []]
    judged = built(stream_of(rows, ledgers), RETAILER).query("account_id == 'judged'").sort_index()
    payments = len(PAYMENTS) + len(LATE)
    assert judged["merchant_count_7d"].tolist()[:payments] == [
        item.is_seen for item in (*PAYMENTS, *LATE)
    ]
    assert judged["merchant_known_frauds_7d"].tolist()[payments:] == [
        item.is_seen for item in VERDICTS
    ]
    assert (payments_seen(), frauds_known()) == (5, 2)


def test_the_picture_is_whole_xml_with_a_title_and_colours_for_a_dark_page() -> None:
    root = ET.fromstring(picture())
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert "prefers-color-scheme: dark" in picture()


def _row(merchant: str, item: Payment | Verdict) -> dict[str, object]:
    as_of = JUDGED + timedelta(days=item.paid if isinstance(item, Verdict) else item.arrived - NOW)
    late = timedelta(days=0 if isinstance(item, Verdict) else item.arrived - item.happened)
    return {
        "as_of": as_of,
        "late": late,
        "account_id": "other",
        "amount": 1.0,
        "merchant_id": merchant,
    }


def _ledger(item: Payment | Verdict) -> list[tuple[bool, timedelta]]:
    if isinstance(item, Payment):
        return []
    known = (True, timedelta(days=item.known - item.paid))
    return (
        [known]
        if item.reversed_at is None
        else [known, (False, timedelta(days=item.reversed_at - item.paid))]
    )
