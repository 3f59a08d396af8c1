"""A verdict ends an alert and labels its transactions; a reversal adds, it erases nothing."""

from collections.abc import Callable
from typing import cast

import pytest
from sqlalchemy import Engine

from pipeline.casework import (
    ForbiddenError,
    MissingError,
    RefusedError,
    Verdict,
    alert_page,
    claim,
    decide,
    labels_after,
    reverse,
    unclaim,
)
from tests.casework_examples import NOW, TOMORROW

ODD = cast(Verdict, "odd")  # wrong on purpose


def test_a_verdict_labels_every_transaction_of_the_alert(engine: Engine, alert_id: int) -> None:
    decide(engine, alert_id, verdict="fraud", note="card was stolen", by="ann", now=TOMORROW)
    labels = labels_after(engine, "world", 0)
    assert [
        (label.transaction_id, label.is_fraud, label.known_at, label.source) for label in labels
    ] == [
        ("t1", True, TOMORROW, "review"),
        ("t2", True, TOMORROW, "review"),
    ]
    assert labels_after(engine, "world", labels[0].id) == labels[1:]
    assert labels_after(engine, "cards", 0) == ()


def test_a_reversal_adds_labels_and_keeps_the_old_ones(engine: Engine, alert_id: int) -> None:
    decide(engine, alert_id, verdict="fraud", by="ann", now=NOW)
    reverse(
        engine, alert_id, verdict="legitimate", note="the customer called", by="sue", now=TOMORROW
    )
    assert [label.is_fraud for label in labels_after(engine, "world", 0)] == [
        True,
        True,
        False,
        False,
    ]
    assert [review.verdict for review in alert_page(engine, alert_id).reviews] == [
        "fraud",
        "legitimate",
    ]


@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        (
            lambda e, i: decide(e, i, verdict="fraud", by="ben", now=NOW),
            RefusedError,
            "decided as fraud by ann already",
        ),
        (
            lambda e, i: decide(e, 99, verdict="fraud", by="ben", now=NOW),
            MissingError,
            "there is no alert 99",
        ),
        (
            lambda e, i: decide(e, i, verdict=ODD, by="ben", now=NOW),
            RefusedError,
            "'odd' is no verdict",
        ),
        (
            lambda e, i: decide(e, i, verdict="fraud", by="eve", now=NOW),
            ForbiddenError,
            "'eve' is no active user",
        ),
        (
            lambda e, i: claim(e, i, by="ben", now=NOW),
            RefusedError,
            "decided as fraud by ann already",
        ),
        (
            lambda e, i: unclaim(e, i, by="ann", now=NOW),
            RefusedError,
            "decided as fraud by ann already",
        ),
        (
            lambda e, i: reverse(e, i, verdict="legitimate", note="x", by="ann", now=NOW),
            ForbiddenError,
            "ann is analyst",
        ),
        (
            lambda e, i: reverse(e, i, verdict="legitimate", note=" ", by="sue", now=NOW),
            RefusedError,
            "needs a note",
        ),
        (
            lambda e, i: reverse(e, i, verdict="fraud", note="x", by="sue", now=NOW),
            RefusedError,
            "nothing to reverse",
        ),
        (
            lambda e, i: reverse(e, 99, verdict="fraud", note="x", by="sue", now=NOW),
            MissingError,
            "there is no alert 99",
        ),
    ],
    ids=[
        "decided",
        "missing",
        "odd verdict",
        "stranger",
        "claim",
        "put back",
        "analyst",
        "no note",
        "same",
        "no alert",
    ],
)
def test_a_refused_change_of_a_decided_alert_says_why_and_changes_nothing(
    engine: Engine,
    alert_id: int,
    act: Callable[[Engine, int], None],
    error: type[RefusedError],
    sentence: str,
) -> None:
    decide(engine, alert_id, verdict="fraud", by="ann", now=NOW)
    before = alert_page(engine, alert_id)
    with pytest.raises(error, match=sentence):
        act(engine, alert_id)
    assert alert_page(engine, alert_id) == before


def test_an_open_alert_cannot_be_reversed_or_put_back(engine: Engine, alert_id: int) -> None:
    with pytest.raises(RefusedError, match="not decided yet"):
        reverse(engine, alert_id, verdict="fraud", note="x", by="sue", now=NOW)
    with pytest.raises(RefusedError, match="is not in review"):
        unclaim(engine, alert_id, by="sue", now=NOW)


def test_an_alert_in_review_is_its_reviewers_or_a_seniors_to_decide(
    engine: Engine, alert_id: int
) -> None:
    claim(engine, alert_id, by="ann", now=NOW)
    with pytest.raises(RefusedError, match="in review by ann"):
        decide(engine, alert_id, verdict="fraud", by="ben", now=NOW)
    with pytest.raises(ForbiddenError, match="ben is analyst and may not put back"):
        unclaim(engine, alert_id, by="ben", now=NOW)
    decide(engine, alert_id, verdict="fraud", by="sue", now=NOW)
    assert alert_page(engine, alert_id).alert.reviewer == "sue"
