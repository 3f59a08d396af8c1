"""Keep with each alert the currency of its expected loss.

Those raised before have none: theirs is that of their transactions.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("alert", sa.Column("loss_currency", sa.String()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("alert", "loss_currency")
