"""Brings a database to the newest tables; loaded only when there is something to bring."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection


def upgrade(connection: Connection, *, shown: str) -> None:
    """Apply what the database at the address `shown` lacks, in the connection's transaction."""
    config = migrations()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as failure:
        raise ValueError(
            f"the casework database {shown} is of another version ({failure}); use a newer Strata"
        ) from failure


def migrations() -> Config:
    """Where Alembic finds the steps: next to this file."""
    config = Config()
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config
