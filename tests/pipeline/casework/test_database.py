"""The casework database opens or says why not, keeps its record, and has one writer at a time."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, delete, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase

from pipeline.casework import (
    RefusedError,
    alert_page,
    counts,
    decide,
    labels_after,
    open_casework,
    queue,
    raise_alerts,
)
from pipeline.casework.database import NEWEST_REVISION, writer
from pipeline.casework.migrations.upgrade import migrations
from pipeline.casework.tables import Audit, Label, Review, Table
from tests.casework_examples import NOW, flagged, freeze_account
from tests.demo_home import ROOT

PEOPLE_AT_ONCE = 8


def at_once(act: Callable[[int], object]) -> list[str]:
    """What each of several threads that act at the same time is answered: "" or the refusal."""

    def answer(number: int) -> str:
        try:
            act(number)
        except RefusedError as refusal:
            return str(refusal)
        return ""

    with ThreadPoolExecutor(PEOPLE_AT_ONCE) as threads:
        return list(threads.map(answer, range(PEOPLE_AT_ONCE)))


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder/casework.db"
    raise_alerts(open_casework(url), [flagged("t1")], portfolio="world", now=NOW)
    assert counts(open_casework(url))["alerts"]["open"] == 1


def test_the_migrations_make_exactly_the_declared_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_the_newest_revision_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(migrations()).get_current_head() == NEWEST_REVISION


def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/casework.db"
    open_casework(url)
    script = f"""
import sys
from pipeline.casework import counts, open_casework
counts(open_casework({url!r}))
print(*{{name.split(".")[0] for name in sys.modules}})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "sqlalchemy" in loaded
    assert not loaded & {"alembic", "argon2", "pydantic", "pandas", "torch"}


def test_what_was_flagged_before_there_were_near_cases_has_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/casework.db"
    engine = open_casework(url)
    raise_alerts(engine, [flagged("t1")], portfolio="world", now=NOW)
    config = migrations()
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        downgrade(config, "0001")
    reopened = open_casework(url)
    assert alert_page(reopened, 1).transactions == (flagged("t1", nearest=()),)


def test_sqlite_runs_with_wal_and_foreign_keys(engine: Engine) -> None:
    with engine.begin() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("casework.db", "'casework.db' is no database URL"),
        ("mysql://here/casework", "casework runs on sqlite or postgresql, not on mysql"),
        ("sqlite+aiosqlite:///casework.db", r"not on sqlite\+aiosqlite"),
        (
            "postgresql+pg8000://here/casework",
            "needs the package pg8000; install Strata with its extra",
        ),
        (
            "postgresql+odd://ann:secret@here/casework",
            r"ann:\*\*\*@here/casework names no driver that is known",
        ),
        ("sqlite://", "'sqlite://' names no file"),
        ("sqlite:///{folder}/a-file/casework.db", "a-file cannot be made"),
        ("sqlite:///{folder}", "cannot be opened .*unable to open database file"),
        ("sqlite:///{folder}/a-file", "cannot be opened .*file is not a database"),
    ],
    ids=[
        "no url",
        "other database",
        "other driver",
        "no package",
        "odd driver",
        "in memory",
        "folder is a file",
        "file is a folder",
        "no database",
    ],
)
def test_an_unusable_address_is_refused_in_one_sentence(
    tmp_path: Path, url: str, sentence: str
) -> None:
    (tmp_path / "a-file").write_text("this is not a database, and long enough to be looked at " * 4)
    with pytest.raises(ValueError, match=sentence):
        open_casework(url.format(folder=tmp_path))


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/casework.db"
    with writer(open_casework(url)).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ValueError, match=r"is of another version .*9999.*use a newer Strata"):
        open_casework(url)


def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/casework.db"
    assert at_once(lambda _: open_casework(url)) == [""] * PEOPLE_AT_ONCE


def test_of_many_verdicts_at_once_exactly_one_counts(engine: Engine) -> None:
    raise_alerts(engine, [flagged("t1")], portfolio="world", now=NOW)
    alert_id = queue(engine)[0].id
    people = ["ann", "ben", "sue", "max"] * 2
    answers = at_once(
        lambda number: decide(engine, alert_id, verdict="fraud", by=people[number], now=NOW)
    )
    assert answers.count("") == 1
    refused = [sentence for sentence in answers if "already; a senior can reverse it" in sentence]
    assert len(refused) == PEOPLE_AT_ONCE - 1
    assert len(alert_page(engine, alert_id).reviews) == len(labels_after(engine, "world")) == 1


def test_of_many_freezes_at_once_exactly_one_holds(engine: Engine) -> None:
    answers = at_once(lambda _: freeze_account(engine))
    assert answers.count("") == 1
    assert counts(engine)["holds"] == 1


def test_the_same_alerts_raised_at_once_are_raised_once(engine: Engine) -> None:
    batch = [flagged(f"t{number}", f"a{number % 10}") for number in range(40)]
    at_once(lambda _: raise_alerts(engine, batch, portfolio="world", now=NOW))
    assert counts(engine)["alerts"]["open"] == 10
    assert sum(alert.transactions for alert in queue(engine)) == 40


@pytest.mark.parametrize("table", [Review, Label, Audit], ids=["review", "label", "audit"])
def test_the_record_can_be_neither_changed_nor_deleted(
    engine: Engine, table: type[DeclarativeBase]
) -> None:
    raise_alerts(engine, [flagged("t1")], portfolio="world", now=NOW)
    decide(engine, queue(engine)[0].id, verdict="fraud", by="ann", now=NOW)
    for change in (update(table).values(id=7), delete(table)):
        with (
            pytest.raises(IntegrityError, match=f"{table.__tablename__} is append only"),
            writer(engine).begin() as connection,
        ):
            connection.execute(change)
