"""The first casework tables: users, sessions, alerts, reviews, holds, labels, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)
APPEND_ONLY = ("review", "label", "audit")


def upgrade() -> None:
    """Make every table; what is a record of the past refuses to be changed."""
    _users()
    _alerts()
    _verdicts()
    _holds()
    _alerted_batch()
    _audit()
    for table in APPEND_ONLY:
        _refuse_changes(table)


def downgrade() -> None:
    """Drop everything, newest first."""
    for table in (
        "audit",
        "alerted_batch",
        "label",
        "hold",
        "review",
        "alert_transaction",
        "alert",
        "session",
        "user_account",
    ):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION strata_refuse_change")


def _users() -> None:
    op.create_table(
        "user_account",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_user_account"),
    )
    op.create_table(
        "session",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_session"),
        sa.ForeignKeyConstraint(["user_name"], ["user_account.name"], name="fk_session_user_name"),
    )


def _alerts() -> None:
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portfolio", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("raised_at", MOMENT, nullable=False),
        sa.Column("expected_loss", sa.Float(53), nullable=False),
        sa.Column("top_score", sa.Float(53), nullable=False),
        sa.Column("reviewer", sa.String()),
        sa.Column("verdict", sa.String()),
        sa.Column("decided_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_alert"),
    )
    undecided = sa.text("state <> 'decided'")
    op.create_index(
        "uq_alert_undecided",
        "alert",
        ["portfolio", "account_id"],
        unique=True,
        sqlite_where=undecided,
        postgresql_where=undecided,
    )
    op.create_index("ix_alert_queue", "alert", ["state", "expected_loss"])
    op.create_index("ix_alert_account", "alert", ["portfolio", "account_id"])
    op.create_table(
        "alert_transaction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("portfolio", sa.String(), nullable=False),
        sa.Column("transaction_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("event_time", MOMENT, nullable=False),
        sa.Column("flagged_at", MOMENT, nullable=False),
        sa.Column("amount", sa.Float(53), nullable=False),
        sa.Column("currency", sa.String()),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.Column("logit", sa.Float(53), nullable=False),
        sa.Column("base", sa.Float(53), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("expected_loss", sa.Float(53), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alert_transaction"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name="fk_alert_transaction_alert_id"),
        sa.UniqueConstraint(
            "portfolio", "transaction_id", name="uq_alert_transaction_portfolio_transaction_id"
        ),
    )
    op.create_index("ix_alert_transaction_alert_id", "alert_transaction", ["alert_id"])


def _verdicts() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("given_by", sa.String(), nullable=False),
        sa.Column("given_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name="fk_review_alert_id"),
        sa.ForeignKeyConstraint(["given_by"], ["user_account.name"], name="fk_review_given_by"),
    )
    op.create_index("ix_review_alert_id", "review", ["alert_id"])
    op.create_table(
        "label",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portfolio", sa.String(), nullable=False),
        sa.Column("transaction_id", sa.String(), nullable=False),
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("is_fraud", sa.Boolean(), nullable=False),
        sa.Column("known_at", MOMENT, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("given_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name="fk_label_alert_id"),
        sa.ForeignKeyConstraint(["given_by"], ["user_account.name"], name="fk_label_given_by"),
    )
    op.create_index("ix_label_transaction", "label", ["portfolio", "transaction_id"])


def _holds() -> None:
    op.create_table(
        "hold",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portfolio", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("review_by", MOMENT, nullable=False),
        sa.Column("released_at", MOMENT),
        sa.Column("released_by", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_hold"),
        sa.ForeignKeyConstraint(["owner"], ["user_account.name"], name="fk_hold_owner"),
        sa.ForeignKeyConstraint(["released_by"], ["user_account.name"], name="fk_hold_released_by"),
    )
    active = sa.text("released_at IS NULL")
    op.create_index(
        "uq_hold_active",
        "hold",
        ["portfolio", "account_id", "kind"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )
    op.create_index("ix_hold_account", "hold", ["portfolio", "account_id"])


def _alerted_batch() -> None:
    op.create_table(
        "alerted_batch",
        sa.Column("portfolio", sa.String(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("portfolio", name="pk_alerted_batch"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("portfolio", sa.String()),
        sa.Column("account_id", sa.String()),
        sa.Column("alert_id", sa.Integer()),
        sa.Column("user_name", sa.String()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_account", "audit", ["portfolio", "account_id"])


def _refuse_changes(table: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION strata_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append only'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION strata_refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append only'); END"
        )
