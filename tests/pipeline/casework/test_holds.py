"""A hold stands for a pending alert or in somebody's name, and ends after the verdict."""

import pytest
from sqlalchemy import Engine

from pipeline.casework import RefusedError, active_holds, alert_page, decide, release
from tests.casework_examples import NOW, TOMORROW, freeze_account


def test_a_frozen_account_is_released_only_after_its_verdict(engine: Engine, alert_id: int) -> None:
    freeze_account(engine, kind="debit")
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
    freeze_account(engine, owner=None)
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
    freeze_account(engine, kind="debit")
    asked = {"kind": "credit"} | change
    with pytest.raises(RefusedError, match=sentence):
        freeze_account(engine, **asked)  # type: ignore[arg-type]  # wrong on purpose
    assert len(active_holds(engine)) == 1


def test_a_full_freeze_may_follow_a_part_but_not_the_other_way(engine: Engine) -> None:
    freeze_account(engine, kind="debit")
    freeze_account(engine)
    with pytest.raises(RefusedError, match="account a1 is frozen for all already"):
        freeze_account(engine, kind="credit")


def test_an_account_that_is_not_frozen_cannot_be_released(engine: Engine) -> None:
    with pytest.raises(RefusedError, match="account a1 is not frozen; nothing to release"):
        release(engine, "world", "a1", by="ann", now=NOW)
