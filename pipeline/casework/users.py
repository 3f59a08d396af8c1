"""Users and their sessions: argon2 for passwords, a hashed token on the server for a signed-in browser."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import cast

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Engine, delete, insert, select

from pipeline.casework.acting import MACHINE, ROLES, Role, Subject, record
from pipeline.casework.database import writer
from pipeline.casework.refusals import RefusedError
from pipeline.casework.tables import SignIn, UserAccount

SESSION_LENGTH = timedelta(hours=12)  # a working day: an analyst signs in once a morning
MIN_PASSWORD_LENGTH = 10


@dataclass(frozen=True, kw_only=True)
class User:
    """A person who is signed in."""

    name: str
    role: Role


def add_user(engine: Engine, name: str, *, role: Role, password: str | None = None, now: datetime) -> str:
    """Add a user and return their password: the one given, or a generated one that is shown once and never stored."""
    _check(name, role, password)
    password = password or secrets.token_urlsafe(15)
    with writer(engine).begin() as connection:
        if connection.scalar(select(UserAccount.name).where(UserAccount.name == name)):
            raise RefusedError(f"there is a user {name!r} already; choose another name")
        user = {"name": name, "role": role, "password_hash": PasswordHasher().hash(password), "active": True, "added_at": now}
        connection.execute(insert(UserAccount), [user])
        record(connection, MACHINE, "added the user", Subject(user_name=name), at=now, role=role)
    return password


def check_password(engine: Engine, name: str, password: str) -> User | None:
    """The active user of that name and password, or None."""
    stored = select(UserAccount.role, UserAccount.password_hash).where(UserAccount.name == name, UserAccount.active)
    with engine.begin() as connection:
        row = connection.execute(stored).one_or_none()
    if row is None:
        PasswordHasher().hash(password)  # as slow as a real check: the time must not tell which names exist
        return None
    try:
        PasswordHasher().verify(row.password_hash, password)
    except VerificationError:
        return None
    return User(name=name, role=cast(Role, row.role))


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


def _check(name: str, role: str, password: str | None) -> None:
    if not name.isprintable() or not name.strip() or name != name.strip():
        raise RefusedError(f"{name!r} is no name for a user; give printable text without spaces around it")
    if name == MACHINE:
        raise RefusedError(f"{name!r} stands for the machine in the audit; choose another name")
    if role not in ROLES:
        raise RefusedError(f"{role!r} is no role; choose one of {', '.join(ROLES)}")
    if password is not None and len(password) < MIN_PASSWORD_LENGTH:
        raise RefusedError(f"the password has {len(password)} characters; give at least {MIN_PASSWORD_LENGTH}")


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()  # the token is random: a fast hash is enough
