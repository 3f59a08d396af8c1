"""Casework: alerts are raised once, verdicts become labels, holds and people follow their rules."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Engine, func, select, update

from pipeline.casework import (
    Amount,
    ForbiddenError,
    MissingError,
    RaisedAlerts,
    RefusedError,
    Verdict,
    active_holds,
    add_user,
    alert_page,
    alerted_up_to,
    check_password,
    close_session,
    counts,
    decide,
    freeze,
    in_alerts,
    labels_after,
    open_session,
    portfolios,
    put_back,
    queue,
    raise_alerts,
    release,
    reverse,
    session_user,
    take,
)
from pipeline.casework.tables import Audit, SignIn, UserAccount
from tests.casework_examples import NOW, PASSWORD, casework_with_people, flagged

TOMORROW = NOW + timedelta(days=1)
ODD = cast(Verdict, "odd")  # wrong on purpose


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return casework_with_people(tmp_path)


@pytest.fixture
def alert_id(engine: Engine) -> int:
    raise_alerts(engine, [flagged("t1"), flagged("t2")], portfolio="world", now=NOW)
    return queue(engine)[0].id


def audit_rows(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.scalar(select(func.count()).select_from(Audit)) or 0


def test_an_accounts_flagged_transactions_make_one_alert(engine: Engine) -> None:
    raised = raise_alerts(
        engine,
        [flagged("t1", "a1"), flagged("t2", "a1"), flagged("t3", "a2")],
        portfolio="world",
        now=NOW,
    )
    assert raised == RaisedAlerts(new_alerts=2, added=3, already=0)
    assert counts(engine, "world") == {
        "alerts": {"open": 2, "in_review": 0, "decided": 0},
        "holds": 0,
    }


def test_raising_again_changes_nothing(engine: Engine, alert_id: int) -> None:
    before = alert_page(engine, alert_id)
    assert raise_alerts(
        engine, [flagged("t1"), flagged("t2")], portfolio="world", now=TOMORROW
    ) == RaisedAlerts(new_alerts=0, added=0, already=2)
    assert alert_page(engine, alert_id) == before


def test_the_same_transaction_twice_in_one_call_counts_once(engine: Engine) -> None:
    raised = raise_alerts(engine, [flagged("t1"), flagged("t1")], portfolio="world", now=NOW)
    assert raised == RaisedAlerts(new_alerts=1, added=1, already=1)


def test_a_later_transaction_joins_the_undecided_alert_and_raises_its_worth(
    engine: Engine, alert_id: int
) -> None:
    raised = raise_alerts(
        engine, [flagged("t3", score=0.75, loss=30.0)], portfolio="world", now=TOMORROW
    )
    alert = alert_page(engine, alert_id).alert
    assert raised == RaisedAlerts(new_alerts=0, added=1, already=0)
    assert (alert.transactions, alert.expected_loss, alert.top_score) == (3, 70.0, 0.75)
    assert alert.amounts == (Amount(total=300.0, currency="EUR"),)


def test_after_the_verdict_a_new_transaction_opens_a_new_alert(
    engine: Engine, alert_id: int
) -> None:
    decide(engine, alert_id, verdict="legitimate", by="ann", now=NOW)
    assert raise_alerts(engine, [flagged("t3")], portfolio="world", now=TOMORROW).new_alerts == 1


def test_portfolios_do_not_share_alerts(engine: Engine, alert_id: int) -> None:
    assert raise_alerts(engine, [flagged("t1")], portfolio="cards", now=NOW).new_alerts == 1
    assert portfolios(engine) == ("cards", "world")
    assert counts(engine, "cards")["alerts"]["open"] == 1
    assert counts(engine)["alerts"]["open"] == 2


def test_more_transactions_than_one_statement_takes_are_raised(engine: Engine) -> None:
    many = [flagged(f"t{number}", f"a{number % 4_000}") for number in range(12_000)]
    assert raise_alerts(engine, many, portfolio="world", now=NOW) == RaisedAlerts(
        new_alerts=4_000, added=12_000, already=0
    )
    assert raise_alerts(engine, many, portfolio="world", now=NOW).already == 12_000


def test_nothing_flagged_raises_nothing(engine: Engine) -> None:
    before = audit_rows(engine)
    assert raise_alerts(engine, [], portfolio="world", now=NOW) == RaisedAlerts(
        new_alerts=0, added=0, already=0
    )
    assert audit_rows(engine) == before


def test_the_batch_is_remembered_with_its_alerts(engine: Engine) -> None:
    assert alerted_up_to(engine, "world") == -1
    raise_alerts(engine, [flagged("t1")], portfolio="world", batch=4, now=NOW)
    raise_alerts(engine, [], portfolio="world", batch=5, now=NOW)
    assert (alerted_up_to(engine, "world"), alerted_up_to(engine, "cards")) == (5, -1)
    assert in_alerts(engine, "world", ["t1", "t2"]) == {"t1"}


def test_the_queue_begins_with_the_highest_expected_loss(engine: Engine) -> None:
    losses = {"a1": 5.0, "a2": 50.0, "a3": 0.5}
    raise_alerts(
        engine,
        [flagged(f"t-{a}", a, loss=loss) for a, loss in losses.items()],
        portfolio="world",
        now=NOW,
    )
    assert [alert.account_id for alert in queue(engine)] == ["a2", "a1", "a3"]
    assert [alert.account_id for alert in queue(engine, limit=1, offset=1)] == ["a1"]


def test_what_was_flagged_is_read_back_unchanged(engine: Engine, alert_id: int) -> None:
    case = alert_page(engine, alert_id)
    assert case.transactions == (flagged("t1"), flagged("t2"))
    assert case.alert.stages == flagged("t1").stages


def test_a_near_case_that_was_in_an_alert_of_the_portfolio_leads_there(
    engine: Engine, alert_id: int
) -> None:
    raise_alerts(engine, [flagged("c1", "c")], portfolio="cards", now=NOW)
    raise_alerts(engine, [flagged("c2", "c", nearest=())], portfolio="world", now=NOW)
    there = next(alert.id for alert in queue(engine, "world") if alert.account_id == "c")
    assert alert_page(engine, alert_id).alerts_near == {"c2": there}
    assert alert_page(engine, there).alerts_near == {}


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1])
def test_a_score_that_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"transaction t1 has .* a probability as score"):
        flagged("t1", score=score)


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
            lambda e, i: take(e, i, by="ben", now=NOW),
            RefusedError,
            "decided as fraud by ann already",
        ),
        (
            lambda e, i: put_back(e, i, by="ann", now=NOW),
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
        "take",
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
        put_back(engine, alert_id, by="sue", now=NOW)


def test_an_alert_in_review_is_its_reviewers_or_a_seniors_to_decide(
    engine: Engine, alert_id: int
) -> None:
    take(engine, alert_id, by="ann", now=NOW)
    with pytest.raises(RefusedError, match="in review by ann"):
        decide(engine, alert_id, verdict="fraud", by="ben", now=NOW)
    with pytest.raises(ForbiddenError, match="ben is analyst and may not put back"):
        put_back(engine, alert_id, by="ben", now=NOW)
    decide(engine, alert_id, verdict="fraud", by="sue", now=NOW)
    assert alert_page(engine, alert_id).alert.reviewer == "sue"


def test_an_alert_put_back_is_in_the_queue_again(engine: Engine, alert_id: int) -> None:
    take(engine, alert_id, by="ann", now=NOW)
    assert (len(queue(engine)), len(queue(engine, state="in_review"))) == (0, 1)
    put_back(engine, alert_id, by="ann", now=NOW)
    assert len(queue(engine)) == 1


VIEWER_ACTS = {
    "decide": lambda e, i: decide(e, i, verdict="fraud", by="vic", now=NOW),
    "take": lambda e, i: take(e, i, by="vic", now=NOW),
    "put back": lambda e, i: put_back(e, i, by="vic", now=NOW),
    "reverse": lambda e, i: reverse(e, i, verdict="fraud", note="x", by="vic", now=NOW),
    "freeze": lambda e, i: freeze(
        e, "world", "a1", kind="all", reason="x", owner="vic", review_by=TOMORROW, now=NOW
    ),
    "release": lambda e, i: release(e, "world", "a1", by="vic", now=NOW),
}


@pytest.mark.parametrize("act", VIEWER_ACTS.values(), ids=VIEWER_ACTS.keys())
def test_a_viewer_may_change_nothing(
    engine: Engine, alert_id: int, act: Callable[[Engine, int], None]
) -> None:
    with pytest.raises(ForbiddenError, match="vic is viewer and may not"):
        act(engine, alert_id)


def test_a_frozen_account_is_released_only_after_its_verdict(engine: Engine, alert_id: int) -> None:
    freeze(
        engine,
        "world",
        "a1",
        kind="debit",
        reason="stolen card",
        owner="ann",
        review_by=TOMORROW,
        now=NOW,
    )
    assert active_holds(engine)[0].pending_alert_id == alert_id
    with pytest.raises(
        RefusedError, match="account a1 has a pending alert; decide it before the release"
    ):
        release(engine, "world", "a1", by="ann", now=NOW)
    decide(engine, alert_id, verdict="fraud", by="ann", now=NOW)
    release(engine, "world", "a1", by="ann", note="card replaced", now=TOMORROW)
    assert active_holds(engine) == ()
    assert alert_page(engine, alert_id).holds[0].released_at == TOMORROW


def test_a_hold_without_an_owner_gets_one_when_its_alert_is_decided(
    engine: Engine, alert_id: int
) -> None:
    freeze(
        engine, "world", "a1", kind="all", reason="rule", owner=None, review_by=TOMORROW, now=NOW
    )
    decide(engine, alert_id, verdict="fraud", by="ben", now=NOW)
    assert [hold.owner for hold in active_holds(engine)] == ["ben"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "half"}, "'half' is no kind of hold"),
        ({"kind": "debit"}, "account a1 is frozen for debit already"),
        ({"reason": "  "}, "a hold needs a reason"),
        ({"review_by": NOW}, "reviewed after it begins, not by 2025-03-10 09:00"),
        ({"owner": None}, "account a1 has no pending alert; name an owner"),
        ({"owner": "eve"}, "'eve' is no active user"),
    ],
    ids=["unknown kind", "twice", "no reason", "review before it begins", "nobody's", "stranger"],
)
def test_a_hold_that_breaks_a_rule_is_refused(
    engine: Engine, change: dict[str, object], sentence: str
) -> None:
    freeze(
        engine, "world", "a1", kind="debit", reason="x", owner="ann", review_by=TOMORROW, now=NOW
    )
    asked = {
        "kind": "credit",
        "reason": "x",
        "owner": "ann",
        "review_by": TOMORROW,
        "now": NOW,
    } | change
    with pytest.raises(RefusedError, match=sentence):
        freeze(engine, "world", "a1", **asked)  # type: ignore[arg-type]  # wrong on purpose
    assert len(active_holds(engine)) == 1


def test_a_full_freeze_may_follow_a_part_but_not_the_other_way(engine: Engine) -> None:
    freeze(
        engine, "world", "a1", kind="debit", reason="x", owner="ann", review_by=TOMORROW, now=NOW
    )
    freeze(engine, "world", "a1", kind="all", reason="x", owner="ann", review_by=TOMORROW, now=NOW)
    with pytest.raises(RefusedError, match="account a1 is frozen for all already"):
        freeze(
            engine,
            "world",
            "a1",
            kind="credit",
            reason="x",
            owner="ann",
            review_by=TOMORROW,
            now=NOW,
        )


def test_an_account_that_is_not_frozen_cannot_be_released(engine: Engine) -> None:
    with pytest.raises(RefusedError, match="account a1 is not frozen; nothing to release"):
        release(engine, "world", "a1", by="ann", now=NOW)


def test_every_change_leaves_its_audit_row(engine: Engine, alert_id: int) -> None:
    take(engine, alert_id, by="ann", now=NOW)
    freeze(engine, "world", "a1", kind="all", reason="x", owner="ann", review_by=TOMORROW, now=NOW)
    decide(engine, alert_id, verdict="fraud", note="sure", by="ann", now=NOW)
    release(engine, "world", "a1", by="sue", now=NOW)
    assert [(row.who, row.what) for row in alert_page(engine, alert_id).snapshot] == [
        ("strata", "raised the alert"),
        ("ann", "took the alert"),
        ("ann", "froze the account: all"),
        ("ann", "decided: fraud"),
        ("sue", "released the account"),
    ]


def test_a_time_without_its_zone_is_refused(engine: Engine, alert_id: int) -> None:
    with pytest.raises(Exception, match="has no zone"):
        take(engine, alert_id, by="ann", now=NOW.replace(tzinfo=None))


def test_a_password_opens_a_session_that_ends_in_time(engine: Engine) -> None:
    user = check_password(engine, "ann", PASSWORD)
    assert user is not None
    assert user.role == "analyst"
    token = open_session(engine, user, now=NOW)
    assert session_user(engine, token, now=NOW + timedelta(hours=11)) == user
    assert session_user(engine, token, now=NOW + timedelta(hours=12)) is None
    assert session_user(engine, "forged", now=NOW) is None


def test_a_session_ends_when_it_is_closed(engine: Engine) -> None:
    user = check_password(engine, "ann", PASSWORD)
    assert user is not None
    token = open_session(engine, user, now=NOW)
    close_session(engine, token, now=NOW)
    assert session_user(engine, token, now=NOW) is None


def test_a_wrong_password_or_an_unknown_name_signs_nobody_in(engine: Engine) -> None:
    assert check_password(engine, "ann", "wrong password") is None
    assert check_password(engine, "eve", PASSWORD) is None


def test_an_inactive_user_may_neither_sign_in_nor_go_on(engine: Engine, alert_id: int) -> None:
    user = check_password(engine, "ann", PASSWORD)
    assert user is not None
    token = open_session(engine, user, now=NOW)
    with engine.begin() as connection:
        connection.execute(
            update(UserAccount).where(UserAccount.name == "ann").values(active=False)
        )
    assert check_password(engine, "ann", PASSWORD) is None
    assert session_user(engine, token, now=NOW) is None
    with pytest.raises(ForbiddenError, match="'ann' is no active user"):
        decide(engine, alert_id, verdict="fraud", by="ann", now=NOW)


def test_neither_password_nor_token_is_stored_in_the_clear(engine: Engine) -> None:
    user = check_password(engine, "ann", PASSWORD)
    assert user is not None
    token = open_session(engine, user, now=NOW)
    with engine.begin() as connection:
        stored = connection.scalars(select(UserAccount.password_hash)).all()
        assert all(value.startswith("$argon2id$") for value in stored)
        assert token not in connection.scalars(select(SignIn.token_hash)).all()


def test_a_generated_password_works(engine: Engine) -> None:
    password = add_user(engine, "zoe", role="analyst", now=NOW)
    assert check_password(engine, "zoe", password) is not None


@pytest.mark.parametrize(
    ("name", "role", "password", "sentence"),
    [
        ("ann", "analyst", None, "there is a user 'ann' already"),
        (" ", "analyst", None, "' ' is no name for a user"),
        ("strata", "analyst", None, "'strata' stands for the machine"),
        ("zoe", "boss", None, "'boss' is no role; choose one of analyst, senior, manager, viewer"),
        ("zoe", "analyst", "short", "the password has 5 characters; give at least 10"),
    ],
    ids=["taken", "blank", "machine", "odd role", "short password"],
)
def test_a_user_who_breaks_a_rule_is_not_added(
    engine: Engine, name: str, role: str, password: str | None, sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        add_user(engine, name, role=role, password=password, now=NOW)  # type: ignore[arg-type]  # wrong on purpose
