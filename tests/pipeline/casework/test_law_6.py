"""Law 6: no frozen account without a pending alert or a named owner.

No release while an alert is pending.
"""

import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from pipeline.casework import (
    AlertState,
    HoldKind,
    RefusedError,
    Verdict,
    active_holds,
    claim,
    decide,
    freeze,
    queue,
    raise_alerts,
    release,
    reverse,
    unclaim,
)
from tests.casework_examples import NOW, casework_with_people, flagged

LATER = NOW + timedelta(days=1)
accounts = st.sampled_from(["a1", "a2"])
people = st.sampled_from(["ann", "sue", "ann", "sue", "vic", "nobody"])
picks = st.integers(min_value=0, max_value=1)


def operation(
    name: str, **arguments: st.SearchStrategy[object]
) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """One thing somebody tries at the desk."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


operations = st.one_of(
    operation("flag", account=accounts),
    operation(
        "freeze",
        account=accounts,
        kind=st.sampled_from(get_args(HoldKind)),
        owner=st.sampled_from([None, None, "ann", "vic", "nobody"]),
    ),
    operation("release", account=accounts, by=people),
    operation("decide", pick=picks, verdict=st.sampled_from(get_args(Verdict)), by=people),
    operation("reverse", pick=picks, verdict=st.sampled_from(get_args(Verdict)), by=people),
    operation("claim_or_unclaim", pick=picks, by=people),
)


class Desk:
    """People and the pipeline try things on two accounts; a refusal is an answer too."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.flagged = 0

    def flag(self, account: str) -> None:
        self.flagged += 1
        raise_alerts(
            self.engine, [flagged(f"t{self.flagged}", account)], portfolio="world", now=NOW
        )

    def freeze(self, account: str, kind: HoldKind, owner: str | None) -> None:
        freeze(
            self.engine,
            "world",
            account,
            kind=kind,
            reason="x",
            owner=owner,
            review_by=LATER,
            now=NOW,
        )

    def decide(self, pick: int, verdict: Verdict, by: str) -> None:
        decide(self.engine, self.alert_id(pick), verdict=verdict, by=by, now=NOW)

    def reverse(self, pick: int, verdict: Verdict, by: str) -> None:
        reverse(self.engine, self.alert_id(pick), verdict=verdict, note="x", by=by, now=NOW)

    def claim_or_unclaim(self, pick: int, by: str) -> None:
        is_open = any(alert.id == self.alert_id(pick) for alert in queue(self.engine))
        change = claim if is_open else unclaim
        change(self.engine, self.alert_id(pick), by=by, now=NOW)

    def release(self, account: str, by: str) -> None:
        pending = account in self.pending_accounts()
        release(self.engine, "world", account, by=by, now=NOW)
        assert not pending, f"{account} was released while an alert of it was pending"

    def alert_id(self, pick: int) -> int:
        """The newest alert or the one before: late alerts are reached as often as early ones."""
        states: tuple[AlertState, ...] = get_args(AlertState)
        ids = sorted(
            (alert.id for state in states for alert in queue(self.engine, state=state)),
            reverse=True,
        )
        return ids[pick % len(ids)] if ids else 1

    def pending_accounts(self) -> list[str]:
        """From the queue, not from what `release` itself asks."""
        waiting = (*queue(self.engine, state="open"), *queue(self.engine, state="in_review"))
        return [alert.account_id for alert in waiting]

    def check_law_6(self) -> None:
        pending = self.pending_accounts()
        assert len(pending) == len(set(pending)), f"an account has two undecided alerts: {pending}"
        for hold in active_holds(self.engine):
            assert hold.owner or hold.account_id in pending, (
                f"{hold.account_id} is frozen for nobody and nothing"
            )


@settings(max_examples=40, deadline=None)
@given(st.lists(operations, min_size=10, max_size=25))
def test_whatever_is_tried_law_6_holds(tried: list[tuple[str, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(casework_with_people(Path(folder)))
        desk.flag("a1")
        for name, arguments in tried:
            with suppress(RefusedError):
                getattr(desk, name)(**arguments)
            desk.check_law_6()
        desk.engine.dispose()
