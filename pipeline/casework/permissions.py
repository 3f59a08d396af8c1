"""Who may do what in casework: an active user of one of the roles that an act asks for."""

from typing import Literal, cast, get_args

from sqlalchemy import Connection, select

from pipeline.casework.errors import ForbiddenError
from pipeline.casework.tables import UserAccount

Role = Literal["analyst", "senior", "manager", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)
REVIEWERS: tuple[Role, ...] = ("analyst", "senior", "manager")
SENIORS: tuple[Role, ...] = ("senior", "manager")


def require_role(connection: Connection, name: str, roles: tuple[Role, ...], *, to: str) -> Role:
    """The role of an active user of that name.

    Refused unless it is one of `roles`. `to` says what they want to do.
    """
    stored = connection.scalar(
        select(UserAccount.role).where(UserAccount.name == name, UserAccount.active)
    )
    if stored is None:
        raise ForbiddenError(
            f"{name!r} is no active user; add them with: strata user add {name} --role analyst"
        )
    role = cast(Role, stored)
    if role not in roles:
        raise ForbiddenError(
            f"{name} is {role} and may not {to}; ask one who is {' or '.join(roles)}"
        )
    return role
