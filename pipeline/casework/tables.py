"""The tables of casework: users, alerts, reviews, holds, labels, and who did what."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from pipeline.casework.reasons_json import from_json, to_json
from pipeline.flagged import NearCase, StageReason


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: it comes back with its zone, and is refused without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment as UTC; SQLite keeps no zone, so it must be UTC before it gets there."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"the time {value} has no zone; give an aware time in UTC")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The stored moment with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Reasons(TypeDecorator[tuple[Any, ...]]):
    """A tuple of values of one kind, kept as JSON and validated when it is read back."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[StageReason] | type[NearCase]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(
        self, value: tuple[Any, ...] | None, dialect: Dialect
    ) -> list[dict[str, Any]]:
        """The values as JSON."""
        return to_json(value or ())

    def process_result_value(self, value: object, dialect: Dialect) -> tuple[Any, ...]:
        """The stored values, each of its kind."""
        return from_json(self.kind, value)


class Table(DeclarativeBase):
    """One table; constraints are named by rule, so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: UtcTime,
        str: String,
        float: Float(53),
        tuple[StageReason, ...]: Reasons(StageReason),
        tuple[NearCase, ...]: Reasons(NearCase),
        list[str]: JSON,
        dict[str, Any]: JSON,
    }


class UserAccount(Table):
    """A person who may sign in; the password is kept as an argon2 hash."""

    __tablename__ = "user_account"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    password_hash: Mapped[str]
    active: Mapped[bool]
    added_at: Mapped[datetime]


class SignIn(Table):
    """A signed-in browser.

    Only a hash of its token is kept, so that a copy of the database opens no door.
    """

    __tablename__ = "session"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("user_account.name"))
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Alert(Table):
    """An account's flagged transactions, waiting for one verdict.

    An account has one undecided alert at most.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "uq_alert_undecided",
            "portfolio",
            "account_id",
            unique=True,
            sqlite_where=text("state <> 'decided'"),
            postgresql_where=text("state <> 'decided'"),
        ),
        Index("ix_alert_queue", "state", "expected_loss"),
        Index("ix_alert_account", "portfolio", "account_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    portfolio: Mapped[str]
    account_id: Mapped[str]
    state: Mapped[str]
    raised_at: Mapped[datetime]
    expected_loss: Mapped[float]
    top_score: Mapped[float]
    reviewer: Mapped[str | None]
    verdict: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    loss_currency: Mapped[str | None]  # of expected_loss, where it is known


class AlertTransaction(Table):
    """A flagged transaction as it was when flagged; it is in one alert, ever."""

    __tablename__ = "alert_transaction"
    __table_args__ = (UniqueConstraint("portfolio", "transaction_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id"), index=True)
    portfolio: Mapped[str]
    transaction_id: Mapped[str]
    account_id: Mapped[str]
    event_time: Mapped[datetime]
    flagged_at: Mapped[datetime]
    amount: Mapped[float]
    currency: Mapped[str | None]
    score: Mapped[float]
    logit: Mapped[float]
    base: Mapped[float]
    model_version: Mapped[str]
    expected_loss: Mapped[float]
    rules: Mapped[list[str]]
    stages: Mapped[tuple[StageReason, ...]]
    nearest: Mapped[tuple[NearCase, ...]]


class Review(Table):
    """One verdict on one alert; a reversal is a further row."""

    __tablename__ = "review"

    id: Mapped[int] = mapped_column(primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id"), index=True)
    verdict: Mapped[str]
    note: Mapped[str]
    given_by: Mapped[str] = mapped_column(ForeignKey("user_account.name"))
    given_at: Mapped[datetime]


class Hold(Table):
    """A freeze of an account; a released hold stays as a fact."""

    __tablename__ = "hold"
    __table_args__ = (
        Index(
            "uq_hold_active",
            "portfolio",
            "account_id",
            "kind",
            unique=True,
            sqlite_where=text("released_at IS NULL"),
            postgresql_where=text("released_at IS NULL"),
        ),
        Index("ix_hold_account", "portfolio", "account_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    portfolio: Mapped[str]
    account_id: Mapped[str]
    kind: Mapped[str]
    reason: Mapped[str]
    owner: Mapped[str | None] = mapped_column(ForeignKey("user_account.name"))
    since: Mapped[datetime]
    review_by: Mapped[datetime]
    released_at: Mapped[datetime | None]
    released_by: Mapped[str | None] = mapped_column(ForeignKey("user_account.name"))


class Label(Table):
    """What is known of a transaction since `known_at`.

    The latest row of a transaction holds, the earlier ones stay.
    """

    __tablename__ = "label"
    __table_args__ = (Index("ix_label_transaction", "portfolio", "transaction_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    portfolio: Mapped[str]
    transaction_id: Mapped[str]
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id"))
    is_fraud: Mapped[bool]
    known_at: Mapped[datetime]
    source: Mapped[str]
    given_by: Mapped[str] = mapped_column(ForeignKey("user_account.name"))


class Audit(Table):
    """Who did what to which alert, account or user, and when; rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_account", "portfolio", "account_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str]
    what: Mapped[str]
    portfolio: Mapped[str | None]
    account_id: Mapped[str | None]
    alert_id: Mapped[int | None]
    user_name: Mapped[str | None]
    details: Mapped[dict[str, Any]]


class AlertedBatch(Table):
    """The last batch of a portfolio's scores that alerts were raised from."""

    __tablename__ = "alerted_batch"

    portfolio: Mapped[str] = mapped_column(primary_key=True)
    batch: Mapped[int]


class Identity(Table):
    """Which database this is, and to which home it belongs: one row."""

    __tablename__ = "identity"

    database_id: Mapped[str] = mapped_column(primary_key=True)
    home_id: Mapped[str | None]
