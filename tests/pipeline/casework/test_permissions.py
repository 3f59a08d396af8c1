"""Acts are refused to those who may not do them, and pages know it beforehand."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from pipeline.casework import (
    AlertFacts,
    ForbiddenError,
    User,
    alert_page,
    claim,
    decide,
    refuse_claim,
    refuse_decision,
    refuse_freeze,
    refuse_release,
    refuse_reversal,
    refuse_unclaim,
    release,
    reverse,
    unclaim,
)
from pipeline.casework.permissions import Refusal
from tests import casework_examples
from tests.casework_examples import NOW, freeze_account

VIEWER_ACTS = {
    "decide": lambda e, i: decide(e, i, verdict="fraud", by="vic", now=NOW),
    "claim": lambda e, i: claim(e, i, by="vic", now=NOW),
    "put back": lambda e, i: unclaim(e, i, by="vic", now=NOW),
    "reverse": lambda e, i: reverse(e, i, verdict="fraud", note="x", by="vic", now=NOW),
    "freeze": lambda e, i: freeze_account(e, owner="vic"),
    "release": lambda e, i: release(e, "world", "a1", by="vic", now=NOW),
}


@pytest.mark.parametrize("act", VIEWER_ACTS.values(), ids=VIEWER_ACTS.keys())
def test_a_viewer_may_change_nothing(
    engine: Engine, alert_id: int, act: Callable[[Engine, int], None]
) -> None:
    with pytest.raises(ForbiddenError, match="vic is viewer and may not"):
        act(engine, alert_id)


PEOPLE = [User(name=name, role=role) for name, role in casework_examples.PEOPLE.items()]
PREPARED: dict[str, Callable[[Engine, int], None]] = {
    "open": lambda e, i: None,
    "in review": lambda e, i: claim(e, i, by="ann", now=NOW),
    "decided": lambda e, i: decide(e, i, verdict="fraud", by="ann", now=NOW),
}
ASKED: dict[str, Callable[[User, AlertFacts], Refusal | None]] = {
    "claim": refuse_claim,
    "unclaim": refuse_unclaim,
    "decide": refuse_decision,
    "reverse": lambda user, alert: refuse_reversal(user, alert, "legitimate"),
}
DONE: dict[str, Callable[[Engine, int, str], None]] = {
    "claim": lambda e, i, by: claim(e, i, by=by, now=NOW),
    "unclaim": lambda e, i, by: unclaim(e, i, by=by, now=NOW),
    "decide": lambda e, i, by: decide(e, i, verdict="fraud", by=by, now=NOW),
    "reverse": lambda e, i, by: reverse(e, i, verdict="legitimate", note="x", by=by, now=NOW),
}


@pytest.mark.parametrize("user", PEOPLE, ids=lambda user: user.name)
@pytest.mark.parametrize("act", ASKED)
@pytest.mark.parametrize("state", PREPARED)
def test_an_act_is_done_exactly_where_a_page_may_offer_it(
    engine: Engine, alert_id: int, state: str, act: str, user: User
) -> None:
    PREPARED[state](engine, alert_id)
    refusal = ASKED[act](user, alert_page(engine, alert_id).alert)
    if refusal is None:
        DONE[act](engine, alert_id, user.name)
        return
    with pytest.raises(refusal.error, match=re.escape(refusal.sentence)):
        DONE[act](engine, alert_id, user.name)


@pytest.mark.parametrize(
    ("name", "state", "offered"),
    [
        ("ben", "open", {"claim", "decide"}),
        ("ann", "in review", {"unclaim", "decide"}),
        ("ben", "in review", set()),
        ("sue", "in review", {"unclaim", "decide"}),
        ("ann", "decided", set()),
        ("sue", "decided", {"reverse"}),
        ("max", "decided", {"reverse"}),
        ("vic", "open", set()),
    ],
)
def test_what_is_offered_follows_role_and_state(
    engine: Engine, alert_id: int, name: str, state: str, offered: set[str]
) -> None:
    PREPARED[state](engine, alert_id)
    alert = alert_page(engine, alert_id).alert
    user = User(name=name, role=casework_examples.PEOPLE[name])
    assert {act for act, refuse in ASKED.items() if refuse(user, alert) is None} == offered


def test_a_release_waits_for_the_verdict_and_needs_a_hold() -> None:
    ann, vic = User(name="ann", role="analyst"), User(name="vic", role="viewer")
    waiting = refuse_release(ann, "a1", pending_alert_id=7, active_kinds=["all"])
    nothing = refuse_release(ann, "a1", pending_alert_id=None, active_kinds=[])
    forbidden = refuse_release(vic, "a1", pending_alert_id=None, active_kinds=["all"])
    assert refuse_release(ann, "a1", pending_alert_id=None, active_kinds=["all"]) is None
    assert [refusal.hint for refusal in (waiting, nothing, forbidden) if refusal] == [
        "Alert 7 of this account is not decided yet.",
        "This account is not frozen.",
        "You are viewer and may not release accounts.",
    ]


def test_a_full_freeze_leaves_nothing_to_freeze() -> None:
    ann = User(name="ann", role="analyst")
    assert refuse_freeze(ann, "a1", kind="all", active_kinds=["debit"]) is None
    refusal = refuse_freeze(ann, "a1", kind="credit", active_kinds=["all"])
    assert refusal is not None
    assert refusal.sentence == "account a1 is frozen for all already; release it first"
