"""Whether the lake, the casework database and the models belong to one home, and are as old.

Each carries the home's id. What carries none gets it in silence while nothing speaks against it; a
store that is gone, older, or another home's stops the command, unless it is adopted as it is.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipeline.casework import (
    DatabaseIdentity,
    Engine,
    alerted_up_to,
    give_to_home,
    identity_of,
    open_casework,
    read_label,
)
from pipeline.disk.turns import is_made
from pipeline.failures import BrokenError
from pipeline.lake.identity import (
    REVIEW,
    LakeIdentity,
    last_number,
    new_id,
    read_identity,
    review_writer,
    write_identity,
)
from pipeline.lake.statistics import values_at

SQLITE = "sqlite:///"
SCORE = "score"  # who writes scores to the lake


class StoresError(BrokenError):
    """The stores do not belong together; the sentence says which, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The stores of a home, and whether one that does not fit is adopted; `tell` says so."""

    lake_url: str
    database_url: str
    portfolios: Sequence[str] = ()
    adopt: bool = False
    tell: Callable[[str], None] = print

    @property
    def file(self) -> Path | None:
        """The casework database's file, unless it is on a server."""
        if not self.database_url.startswith(SQLITE):
            return None
        return Path(self.database_url.removeprefix(SQLITE))

    @property
    def is_expected(self) -> bool:
        """Whether there is a casework database, or the lake knows of one."""
        if self.file is None or is_made(self.file):
            return True
        lake = read_identity(self.lake_url)
        return lake is not None and lake.database is not None

    def check_lake(self) -> LakeIdentity | None:
        """To whom the lake belongs. Raises StoresError where the casework says otherwise."""
        lake, known = read_identity(self.lake_url), self._known()
        if known is None or known.home is None:
            return lake
        if lake is None:
            gone = f"the lake {self.lake_url} is gone or older than the casework database"
            self._stop(gone, f"put {self.lake_url} back")
            self.tell(
                f"adopted the lake {self.lake_url} as it is: rows, labels and scores that only "
                "the one before had are not there"
            )
            return self.settle_lake(LakeIdentity(home=known.home, database=known.database))
        if known.home != lake.home and not self.adopt:
            raise self._foreign()
        return lake

    def settle_lake(self, otherwise: LakeIdentity | None = None) -> LakeIdentity:
        """The lake's identity, which it is given where it has none."""
        found = read_identity(self.lake_url)
        return found or write_identity(self.lake_url, otherwise or LakeIdentity(home=new_id()))

    def open(self) -> Engine:
        """The casework database, made or migrated as needed, once it is known to fit."""
        lake = self.check_lake() or self.settle_lake()
        is_gone = self.file is not None and not is_made(self.file) and lake.database is not None
        if is_gone:
            self._stop(f"the casework database {self._shown} is gone", "put its backup back")
        engine = open_casework(self.database_url)
        database = identity_of(engine)
        reason = self._misfit(engine, database, lake)
        if reason:
            if not is_gone:
                self._stop(reason, "put the right copy back")
            self._adopt(engine, lake)
        elif database.home is None or lake.database is None:
            give_to_home(engine, lake.home, batches={})
            write_identity(self.lake_url, LakeIdentity(home=lake.home, database=database.database))
        return engine

    def _misfit(self, engine: Engine, database: DatabaseIdentity, lake: LakeIdentity) -> str:
        """Why the database does not fit the lake; empty where it does."""
        if database.home not in {None, lake.home}:
            return self._foreign_sentence
        if lake.database not in {None, database.database}:
            return f"the casework database {self._shown} is new, or not the one that the lake knows"
        writer = review_writer(database.database)
        writers = (writer, REVIEW) if lake.database is None else (writer,)
        for portfolio in self.portfolios:
            if any(self._is_older(engine, portfolio, one) for one in writers):
                return f"the casework database {self._shown} is older than the lake"
            scored = last_number(self.lake_url, portfolio, "scores", SCORE)
            if alerted_up_to(engine, portfolio) > scored:
                return f"the lake {self.lake_url} is older than the casework database"
        return ""

    def _is_older(self, engine: Engine, portfolio: str, writer: str) -> bool:
        """Whether the lake has a verdict that the database has not given yet."""
        number = last_number(self.lake_url, portfolio, "labels", writer)
        if number <= 0:
            return False
        label = read_label(engine, portfolio, number)
        ledger = f"{self.lake_url.rstrip('/')}/{portfolio}/labels"
        # an older copy may have given others the same ids since
        known = label and values_at(ledger, "transaction_id", "known_at", label.known_at)
        return label is None or label.transaction_id not in (known or ())

    def _adopt(self, engine: Engine, lake: LakeIdentity) -> None:
        """Take the database on as another one, so that all its verdicts reach the lake."""
        batches = {
            name: last_number(self.lake_url, name, "scores", SCORE) for name in self.portfolios
        }
        made = give_to_home(engine, lake.home, database=new_id(), batches=batches)
        write_identity(self.lake_url, LakeIdentity(home=lake.home, database=made.database))
        self.tell(
            f"adopted the casework database {self._shown} as it is: its verdicts go to training, "
            "those of the one before that the lake has stay there; users, holds and audit are "
            "what it has, and alerts it lacks are raised by the next strata score"
        )

    def _stop(self, what: str, remedy: str) -> None:
        if not self.adopt:
            raise StoresError(
                f"{what}; {remedy}, or run the command again with --adopt to go on with what is "
                "there"
            )

    def _foreign(self) -> StoresError:
        return StoresError(
            f"{self._foreign_sentence}; set the addresses of one home, or run the command again "
            "with --adopt to take the database on"
        )

    @property
    def _foreign_sentence(self) -> str:
        return f"the casework database {self._shown} and the lake {self.lake_url} are of two homes"

    @property
    def _shown(self) -> str:
        return str(self.file or "on the server")

    def _known(self) -> DatabaseIdentity | None:
        """What a database in a file says, which is read without opening it to others."""
        if self.file is None or not is_made(self.file):
            return None
        address = f"file:{quote(str(self.file))}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True)) as database:
                row = database.execute("SELECT database_id, home_id FROM identity").fetchone()
        except sqlite3.Error:  # of before, or broken: whoever opens it says so
            return None
        return DatabaseIdentity(database=row[0], home=row[1]) if row else None
