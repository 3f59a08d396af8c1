"""A session opens with a password, ends in time, and is stored as a hash."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from pipeline.casework import (
    ForbiddenError,
    check_password,
    close_session,
    decide,
    open_session,
    session_user,
)
from pipeline.casework.tables import SignIn, UserAccount
from tests.casework_examples import NOW, PASSWORD


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
