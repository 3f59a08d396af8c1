"""Users and their passwords, kept as argon2 hashes."""

import secrets
from datetime import datetime
from typing import cast

from sqlalchemy import Engine, insert, select

from pipeline.casework.audit import MACHINE, Subject, record
from pipeline.casework.database import writer
from pipeline.casework.errors import RefusedError
from pipeline.casework.permissions import ROLES, Role, User
from pipeline.casework.tables import UserAccount

MIN_PASSWORD_LENGTH = 10


def add_user(
    engine: Engine, name: str, *, role: Role, password: str | None = None, now: datetime
) -> str:
    """Add a user and return their password: the one given, or a generated one.

    It is shown this once; only its hash is stored.
    """
    _check(name, role, password)
    password = password or secrets.token_urlsafe(15)
    with writer(engine).begin() as connection:
        if connection.scalar(select(UserAccount.name).where(UserAccount.name == name)):
            raise RefusedError(f"there is a user {name!r} already; choose another name")
        user = {
            "name": name,
            "role": role,
            "password_hash": _hash(password),
            "active": True,
            "added_at": now,
        }
        connection.execute(insert(UserAccount), [user])
        record(connection, MACHINE, "added the user", Subject(user_name=name), at=now, role=role)
    return password


def check_password(engine: Engine, name: str, password: str) -> User | None:
    """The active user of that name and password, or None."""
    stored = select(UserAccount.role, UserAccount.password_hash).where(
        UserAccount.name == name, UserAccount.active
    )
    with engine.begin() as connection:
        row = connection.execute(stored).one_or_none()
    if row is None:
        # as slow as a real check: the time must not tell which names exist
        _hash(password)
        return None
    if not _is_password(password, row.password_hash):
        return None
    return User(name=name, role=cast(Role, row.role))


def _hash(password: str) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415 - most commands check no password

    return PasswordHasher().hash(password)


def _is_password(password: str, password_hash: str) -> bool:
    from argon2 import PasswordHasher  # noqa: PLC0415 - as above
    from argon2.exceptions import VerificationError  # noqa: PLC0415

    try:
        return PasswordHasher().verify(password_hash, password)
    except VerificationError:
        return False


def _check(name: str, role: str, password: str | None) -> None:
    if not name.isprintable() or not name.strip() or name != name.strip():
        raise RefusedError(
            f"{name!r} is no name for a user; give printable text without spaces around it"
        )
    if name == MACHINE:
        raise RefusedError(f"{name!r} stands for the machine in the audit; choose another name")
    if role not in ROLES:
        raise RefusedError(f"{role!r} is no role; choose one of {', '.join(ROLES)}")
    if password is not None and len(password) < MIN_PASSWORD_LENGTH:
        raise RefusedError(
            f"the password has {len(password)} characters; give at least {MIN_PASSWORD_LENGTH}"
        )
