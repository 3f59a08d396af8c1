"""Sessions: a hashed token on the server for a signed-in browser."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import cast

from sqlalchemy import Engine, delete, insert, select

from pipeline.casework.audit import Subject, record
from pipeline.casework.database import writer
from pipeline.casework.permissions import Role, User
from pipeline.casework.tables import SignIn, UserAccount

SESSION_LENGTH = timedelta(hours=12)  # a working day: an analyst signs in once a morning


def open_session(engine: Engine, user: User, *, now: datetime) -> str:
    """Sign a user in; the returned token belongs in their cookie."""
    token = secrets.token_urlsafe(32)
    session = {
        "token_hash": _hash(token),
        "user_name": user.name,
        "opened_at": now,
        "expires_at": now + SESSION_LENGTH,
    }
    with writer(engine).begin() as connection:
        connection.execute(delete(SignIn).where(SignIn.expires_at <= now))
        connection.execute(insert(SignIn), [session])
        record(connection, user.name, "signed in", Subject(user_name=user.name), at=now)
    return token


def session_user(engine: Engine, token: str, *, now: datetime) -> User | None:
    """The user whose unexpired session the token is, if they are still active."""
    signed_in = (
        select(UserAccount.name, UserAccount.role)
        .join(SignIn, SignIn.user_name == UserAccount.name)
        .where(SignIn.token_hash == _hash(token), SignIn.expires_at > now, UserAccount.active)
    )
    with engine.begin() as connection:
        row = connection.execute(signed_in).one_or_none()
    return User(name=row.name, role=cast(Role, row.role)) if row is not None else None


def close_session(engine: Engine, token: str, *, now: datetime) -> None:
    """Sign a browser out; a token that is unknown or expired is none to worry about."""
    with writer(engine).begin() as connection:
        ended = delete(SignIn).where(SignIn.token_hash == _hash(token)).returning(SignIn.user_name)
        name = connection.scalar(ended)
        if name is not None:
            record(connection, name, "signed out", Subject(user_name=name), at=now)


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()  # the token is random: a fast hash is enough
