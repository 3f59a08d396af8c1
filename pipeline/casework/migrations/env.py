"""Runs the migrations on the connection that `open_casework` hands over, inside its transaction."""

from alembic import context

from pipeline.casework.tables import Table

if __name__ == "env_py":  # the name Alembic loads this file under; a plain import does nothing
    context.configure(
        connection=context.config.attributes["connection"], target_metadata=Table.metadata
    )
    with context.begin_transaction():
        context.run_migrations()
