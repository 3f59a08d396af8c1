"""The lake's identity: to which home it belongs, and which casework database it goes with.

It stands in the description of a Delta table without rows under the lake's address, so that it
works wherever a lake may lie. A lake of before has none, and gets one when it is first used.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import PrimitiveType

FOLDER = "_home"
REVIEW = "review"  # who wrote verdicts to the ledger before databases had an id
NO_ROWS = Schema([Field("home", PrimitiveType("string"))])


@dataclass(frozen=True, kw_only=True)
class LakeIdentity:
    """The home's id, and that of the casework database, once there is one."""

    home: str
    database: str | None = None


def new_id() -> str:
    """A random id that nobody else has."""
    return uuid4().hex


def read_identity(lake_url: str) -> LakeIdentity | None:
    """To whom the lake belongs; None where nobody has said so yet."""
    uri = _uri(lake_url)
    if not DeltaTable.is_deltatable(uri):
        return None
    return LakeIdentity(**json.loads(str(DeltaTable(uri).metadata().description)))


def write_identity(lake_url: str, identity: LakeIdentity) -> LakeIdentity:
    """Say to whom the lake belongs; of two at once one holds, and is returned to both."""
    uri, told = _uri(lake_url), json.dumps(asdict(identity))
    if "://" not in uri:
        Path(uri).mkdir(parents=True, exist_ok=True)
    try:
        if DeltaTable.is_deltatable(uri):
            DeltaTable(uri).alter.set_table_description(told)
        else:
            DeltaTable.create(uri, NO_ROWS, mode="error", description=told)
    except (CommitFailedError, DeltaError):
        if read_identity(lake_url) is None:  # nobody was faster
            raise
    return read_identity(lake_url) or identity


def last_number(lake_url: str, portfolio: str, table: str, writer: str) -> int:
    """The number that a writer's last append to a table carried; -1 when it never wrote."""
    uri = f"{lake_url.rstrip('/')}/{portfolio}/{table}"
    if not DeltaTable.is_deltatable(uri):
        return -1
    found = DeltaTable(uri).transaction_version(writer)
    return -1 if found is None else found


def review_writer(database: str) -> str:
    """Who writes the verdicts of a casework database to the ledger: their ids are its own."""
    return f"{REVIEW}-{database}"


def _uri(lake_url: str) -> str:
    return f"{lake_url.rstrip('/')}/{FOLDER}"
