"""Keep with each flagged transaction the confirmed cases nearest to it.

Those flagged before have none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "alert_transaction",
        sa.Column("nearest", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("alert_transaction", "nearest")
