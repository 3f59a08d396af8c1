"""Give the database an identity of its own, and room for that of the home it belongs to."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table with its one row."""
    made = op.create_table(
        "identity",
        sa.Column("database_id", sa.String(), nullable=False),
        sa.Column("home_id", sa.String()),
        sa.PrimaryKeyConstraint("database_id", name="pk_identity"),
    )
    op.bulk_insert(made, [{"database_id": uuid4().hex, "home_id": None}])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("identity")
