"""Bad input ends with one sentence, exit code 2, and nothing half-written."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from socket import socket

import pytest

import strata
from pipeline.disk.turns import LOCKS
from pipeline.lake.tables import Lake
from tests.command_line import run as run_argv
from tests.ingest_examples import portfolio_of, reasons, row, stored, write_rows

ROOT = Path(__file__).parents[1]
SPANS = "--train-from {} --train-until {} --test-from {} --test-until {}"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One STRATA_HOME for all: MLflow takes seconds to make its database."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process.

    Returns exit code, standard output and standard error.
    """

    def called(*arguments: object, into: Path = home) -> tuple[int, str, str]:
        monkeypatch.setenv("STRATA_HOME", str(into))
        monkeypatch.setattr(sys, "argv", ["strata", *map(str, arguments)])
        return run_argv(capsys)

    return called


def portfolio(folder: Path, *rows: dict[str, object], more: str = "") -> Path:
    described = portfolio_of(folder, more=more)
    write_rows(described, rows or [row()])
    return described.file


def assert_one_sentence(outcome: tuple[int, str, str], sentence: str, *, code: int = 2) -> None:
    """The exit code and one line on standard error: what was seen, and what to do."""
    ended, _, said = outcome
    assert ended == code, said
    assert re.fullmatch(r"strata: [^\n]*\n", said), said
    assert re.search(sentence, said), said


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param(
            {"amount": "cheap"},
            r"1 of 2 records went to quarantine.*amount is 'cheap', no finite number; mend them",
            id="wrong type",
        ),
        pytest.param(
            {"amount": "-5"},
            r"amount is -5\.0, below 0; mend them in the source and ingest again",
            id="negative amount",
        ),
        pytest.param(
            {"event_time": "2999-01-01"},
            r"event_time is 2999-01-01T00:00:00Z, in the future \(now is 2",
            id="future time",
        ),
        pytest.param(
            {"transaction_id": "good", "amount": "7"},
            r"transaction_id is 'good', a duplicate of a row",
            id="duplicate id",
        ),
    ],
)
def test_a_bad_row_goes_to_quarantine_and_the_good_ones_of_its_file_go_in(
    tmp_path: Path, run: Run, changes: dict[str, object], sentence: str
) -> None:
    outcome = run("ingest", portfolio(tmp_path, row("good"), row("bad", **changes)), into=tmp_path)
    assert_one_sentence(outcome, sentence)
    assert "read 2 = taken 1 + known 0 + left out 0 + quarantined 1 + torn 0" in outcome[1]
    lake = Lake(str(tmp_path / "lake"), "small")
    assert [taken["transaction_id"] for taken in stored(lake, "transactions")] == ["good"]
    assert len(reasons(lake)) == 1


def test_a_feed_that_changed_ends_with_its_change_and_has_its_rows_taken(
    tmp_path: Path, run: Run
) -> None:
    assert run("ingest", portfolio(tmp_path, row("1", country="FR")), into=tmp_path)[0] == 0
    outcome = run("ingest", portfolio(tmp_path, row("2", land="FR")), into=tmp_path)
    assert outcome[0] == 2
    assert re.search(r"the feed has changed: .*country.* is not in it.*--again", outcome[2])
    assert Lake(str(tmp_path / "lake"), "small").count("transactions") == 2


def test_labels_of_files_of_their_own_are_counted_and_one_that_cannot_be_read_is_said(
    tmp_path: Path, run: Run
) -> None:
    columns = 'columns = { transaction_id = "txn", is_fraud = "verdict" }'
    file = portfolio(tmp_path, row("t1"), more=f'[labels]\npath = "verdicts.csv"\n{columns}\n')
    (tmp_path / "verdicts.csv").write_text("txn,verdict\nt1,1\nt9,1\nt1,odd\n", encoding="utf-8")
    code, counts, said = run("ingest", file, into=tmp_path)
    fates = "taken 1 + known 0 + left out 0 + waiting 1 + quarantined 1 + torn 0"
    assert (code, counts.splitlines()[1]) == (2, f"labels: read 3 = {fates}")
    assert re.search("verdicts.csv: 1 labels fit no payment in the lake yet, such as .*t9", said)
    assert re.search("strata: 1 of 3 labels cannot be read, e.g. because is_fraud is 'odd'", said)
    _, status, _ = run("status", file, into=tmp_path)
    assert "labels that fit no payment, or several: 1; the column state of" in status
    assert "labels that cannot be read: 1; mend columns in [labels]" in status
    facts = json.loads(run("status", file, "--json", into=tmp_path)[1])
    assert (facts["labels_waiting"], facts["labels_quarantined"]) == (1, 1)


def test_ingesting_good_rows_says_what_became_of_them_and_again_that_they_are_known(
    tmp_path: Path, run: Run
) -> None:
    file = portfolio(tmp_path, row("t1"), row("t2"))
    assert run("ingest", file, into=tmp_path) == (
        0,
        "read 2 = taken 2 + known 0 + left out 0 + quarantined 0 + torn 0, labels 2\n",
        "",
    )
    assert run("ingest", file, into=tmp_path) == (
        0,
        "read 2 = taken 0 + known 2 + left out 0 + quarantined 0 + torn 0, labels 0\n",
        "",
    )


CARD = "4111 1111 1111 1111"


def test_quarantine_is_listed_by_reason_and_a_dropped_row_is_counted_no_more(
    tmp_path: Path, run: Run
) -> None:
    more = "[labels]\ndelay = '7d'"
    bad = [row("t1", amount="-1"), row("t2", amount="-2", account_id=CARD), row("t3", amount="x")]
    file = portfolio(tmp_path, *bad, more=more)
    assert_one_sentence(
        run("ingest", file, into=tmp_path),
        r"3 of 3 records went to quarantine: 2 because amount is -1\.0, below 0 \(beside 1 other",
    )
    _, listed, _ = run("quarantine", "list", file, into=tmp_path)
    assert "3 rows in quarantine, 2 reasons\n  1  2 rows: amount is -1.0, below 0; first" in listed
    assert 'amount = "abs(their_amount)"' in listed
    _, shown, _ = run("quarantine", "show", file, "--reason", "1", "--limit", "1", into=tmp_path)
    assert "and 1 more" in shown
    _, shown, _ = run("quarantine", "show", file, "--reason", "below", into=tmp_path)
    assert CARD not in shown
    assert '"account_id":"************1111"' in shown
    drop = ("quarantine", "drop", file, "--id", "t2", "--by", "ann", "--note", "a test card")
    assert run(*drop, into=tmp_path)[1].startswith("dropped 1 row")
    _, dropped, _ = run("quarantine", "list", file, "--dropped", into=tmp_path)
    assert "t2  dropped by ann" in dropped
    assert "UTC: a test card" in dropped
    assert json.loads(run("status", file, "--json", into=tmp_path)[1])["quarantined"] == 2
    write_rows(portfolio_of(tmp_path, more=more), [*bad, row("t4")])
    assert run("ingest", file, into=tmp_path)[:2] == (
        0,
        "read 4 = taken 1 + known 3 + left out 0 + quarantined 0 + torn 0, labels 1\n",
    )


def test_a_replay_says_what_it_took_and_what_stays(tmp_path: Path, run: Run) -> None:
    file = portfolio(tmp_path, row("t1", amount="-1"), row("t2", amount="x"))
    run("ingest", file, into=tmp_path)
    outcome = run("quarantine", "replay", file, into=tmp_path)
    assert_one_sentence(outcome, r"2 of 2 rows stay in quarantine: 1 because amount is")
    assert outcome[1].startswith("read 2 = taken 0 + known 0 + left out 0 + quarantined 2 + torn 0")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--note", "x"], r"no rows are named to be dropped; name them by --reason or --id"),
        (["--reason", "x", "--note", " "], r"the note is empty; say in --note why"),
        (["--id", "t9", "--note", "x"], r"no row in quarantine is 't9'; strata quarantine show"),
        (["--reason", "9", "--note", "x"], r"no reason in quarantine is '9'; .* \(1 to 1\)"),
        (["--reason", "1"], r"Missing option '--note'"),
    ],
    ids=["no rows", "an empty note", "no such row", "no such reason", "no note"],
)
def test_a_drop_that_names_nothing_drops_nothing(
    tmp_path: Path, run: Run, options: list[str], sentence: str
) -> None:
    file = portfolio(tmp_path, row("t1", amount="-1"))
    run("ingest", file, into=tmp_path)
    assert_one_sentence(run("quarantine", "drop", file, *options, into=tmp_path), sentence)
    assert "dropped_at" not in Lake(str(tmp_path / "lake"), "small").columns("quarantine")


@pytest.mark.parametrize(
    ("text", "content", "sentence"),
    [
        pytest.param(
            "",
            b"transaction_id,event_time,amount\nt1,2025-05-01,3\n",
            r"lacks account_id; the source has .*; write account_id =",
            id="missing column",
        ),
        pytest.param(
            "",
            b"",
            r"rows\.csv cannot be read \(it is empty\); put rows in it",
            id="unreadable file",
        ),
        pytest.param(
            "",
            None,
            r"rows\.csv of portfolio small names no file; put one there",
            id="missing source",
        ),
        pytest.param(
            "[colums]",
            b"",
            r"portfolio\.toml has 'colums', .*; did you mean 'columns'\?",
            id="portfolio with a typo",
        ),
    ],
)
def test_a_source_or_portfolio_that_cannot_be_used_leaves_nothing_written(
    tmp_path: Path, run: Run, text: str, content: bytes | None, sentence: str
) -> None:
    (tmp_path / "portfolio.toml").write_text(
        f'name = "small"\n[source]\npath = "rows.csv"\n{text}\n'
    )
    if content is not None:
        (tmp_path / "rows.csv").write_bytes(content)
    before = files_but_locks(tmp_path)
    assert_one_sentence(
        run("ingest", tmp_path / "portfolio.toml", into=tmp_path / "home"), sentence
    )
    assert files_but_locks(tmp_path) == before


def files_but_locks(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if LOCKS not in path.parts)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            "ingest /nowhere/portfolio.toml",
            r"there is no portfolio file /nowhere/portfolio\.toml; name an existing",
            id="portfolio",
        ),
        pytest.param("ingset x", r"No such command 'ingset'.*see strata --help", id="command"),
        pytest.param(
            "ingest x --frobnicate", r"No such option.*--frobnicate.*see strata --help", id="option"
        ),
        pytest.param("ingest", r"Missing argument 'PORTFOLIO'.*see strata --help", id="argument"),
        pytest.param(
            "train x --as-of tomorrow",
            r"'tomorrow' is no ISO 8601 time; write it like 2025-03-01",
            id="time",
        ),
        pytest.param(
            "simulate --transactions many --out y",
            r"'many' is not a valid integer.*see strata --help",
            id="number",
        ),
        pytest.param(
            "user add ann --role king",
            r"'king' is not one of 'analyst'.*see strata --help",
            id="role",
        ),
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    tmp_path: Path, run: Run, arguments: str, sentence: str
) -> None:
    assert_one_sentence(run(*arguments.split(), into=tmp_path / "home"), sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(
            SPANS.format("2025-02-01", "2025-01-01", "2025-03-01", "2025-04-01"),
            r"must follow one another, not 2025-02-01T00:00:00Z.*; give from before until",
            id="spans in the wrong order",
        ),
        pytest.param(
            SPANS.format("2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01")
            + " --models layered,oracle",
            r"'?oracle'?.*xgboost",
            id="unknown model",
        ),
        pytest.param(
            SPANS.format("2025-01-01", "2025-02-01", "2025-03-01", "soon"),
            r"'soon' is no ISO 8601 time",
            id="bad time",
        ),
        pytest.param(
            SPANS.format("2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01"),
            r"small has no transactions.*; run strata ingest",
            id="no data",
        ),
    ],
)
def test_a_backtest_that_cannot_be_is_refused_and_writes_no_file(
    tmp_path: Path, run: Run, options: str, sentence: str
) -> None:
    out = tmp_path / "scores.parquet"
    assert_one_sentence(
        run("backtest", portfolio(tmp_path), *options.split(), "--out", out, into=tmp_path),
        sentence,
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        pytest.param(
            "train",
            r"portfolio small has no transactions; run strata ingest",
            id="train without data",
        ),
        pytest.param("score", r"small has no champion; run strata", id="score without a champion"),
        pytest.param(
            "promote",
            r"small has no challenger; run strata train first",
            id="promote without a challenger",
        ),
        pytest.param(
            "rollback",
            r"small .*took over from nobody; there is nothing to roll back to",
            id="rollback without history",
        ),
    ],
)
def test_a_command_that_comes_too_early_says_what_comes_first(
    tmp_path: Path, run: Run, command: str, sentence: str
) -> None:
    assert_one_sentence(run(command, portfolio(tmp_path)), sentence)


def test_another_process_at_work_is_told_in_one_sentence(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process appended between the moment a number was taken and its use."""
    file = portfolio(tmp_path)
    run("ingest", file, into=tmp_path)
    monkeypatch.setattr(Lake, "next_number", lambda *_: 0)
    write_rows(portfolio_of(tmp_path), [row("t2")])
    assert_one_sentence(
        run("ingest", file, into=tmp_path),
        r"was written to by another process at the same time; run the command again",
        code=3,
    )


def test_a_locked_database_is_busy(tmp_path: Path, run: Run) -> None:
    """Somebody else writes to the registry for longer than we wait."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("CREATE TABLE held (x)")
        other.execute("BEGIN EXCLUSIVE")
        (tmp_path / "lake" / "small").mkdir(parents=True)
        assert_one_sentence(
            run("status", into=tmp_path),
            r"a database is locked by another process, also after a wait of 30 s; run",
            code=3,
        )


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda home: home.write_text("a file"), r"home/lake.*; check that it is there and in"),
        (
            lambda home: write_file(home / "mlflow.db"),
            r"home/mlflow.db cannot be read \(file is not a database\); put it",
        ),
        (
            lambda home: write_file(home / "casework.db"),
            r"the casework database .* cannot be opened \(file is not a database\); check the",
        ),
    ],
    ids=["the home is a file", "no registry", "no casework"],
)
def test_a_broken_home_is_said_in_one_sentence(
    tmp_path: Path, run: Run, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(tmp_path / "home")
    asked = run("status", portfolio(tmp_path), into=tmp_path / "home")
    if (tmp_path / "home").is_file():
        asked = run("ingest", tmp_path / "portfolio.toml", into=tmp_path / "home")
    assert_one_sentence(asked, sentence, code=4)


def write_file(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("this is not a database, and long enough to be looked at " * 4)


def test_a_server_that_is_away_is_said_in_one_sentence(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unheard.getsockname()[1]}")
        for name in strata.ANSWER_SOON:
            monkeypatch.setenv(name, "given back when the test ends")
        asked = run("status", portfolio(tmp_path), into=tmp_path)
    assert_one_sentence(asked, r"gives no answer within 5 s; start it, or correct MLFLOW_T", code=4)


def test_what_nobody_expected_is_one_sentence_too_and_its_details_are_kept(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise KeyError("amount")

    monkeypatch.setattr(strata, "open_workspace", lambda *_: fail())
    asked = run("status", into=tmp_path)
    assert_one_sentence(
        asked, r"something unexpected went wrong \(KeyError: 'amount'\); the details are", code=4
    )
    assert "in fail" in (tmp_path / "strata.log").read_text()


def test_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, str(ROOT / "strata.py"), "status"],
            env={**os.environ, "STRATA_HOME": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 4
    assert ended.stderr.startswith("strata: the disk is full (")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        pytest.param(
            ["ingest", "/nowhere/portfolio.toml"],
            2,
            "strata: there is no portfolio file",
            id="refused",
        ),
        pytest.param(["--help"], 0, "", id="helped"),
    ],
)
def test_the_real_process_ends_with_the_code_and_no_traceback(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    environment = {**os.environ, "STRATA_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "strata.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.startswith(told)) == (code, True)
    assert "Traceback" not in ended.stderr


def test_init_proposes_converts_and_writes_over_nothing(run: Run, tmp_path: Path) -> None:
    lines = "".join(f"T{n},2025-03-0{n}T10:00:00Z,a{n % 3},{n}.50\n" for n in range(1, 9))
    data, out = tmp_path / "sales.csv", tmp_path / "portfolio.toml"
    data.write_text(f"id,paid_at,customer,amount\n{lines}", encoding="utf-8")
    ended, told, said = run("init", data, "--out", out)
    assert (ended, said) == (0, "")
    assert "dry run: read 8 = taken 8 + known 0" in told
    written = out.read_text(encoding="utf-8")
    assert_one_sentence(run("init", data, "--out", out), "is there already and nothing is written")
    assert out.read_text(encoding="utf-8") == written
    data.write_text(f"id,paid_at,who,amount\n{lines}".replace(",a", ",b c"), encoding="utf-8")
    lacking = tmp_path / "lacking.toml"
    ended, _, said = run("init", data, "--out", lacking)
    assert (ended, said.count("\n")) == (2, 1)
    assert "lacks account_id in [columns], which no column of the files says" in said
    assert "# account_id = " in lacking.read_text(encoding="utf-8")
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text('name = "a"\n[columns]\n"Sum" = "amount"  # paid\n', encoding="utf-8")
    assert run("init", "--convert", old, "--out", new)[0] == 0
    assert new.read_text(encoding="utf-8") == 'name = "a"\n[columns]\namount = "Sum"  # paid\n'
    assert_one_sentence(run("init", "--out", tmp_path / "x.toml"), "name files to propose")


def test_init_needs_no_home_and_no_torch(tmp_path: Path) -> None:
    lines = "".join(f"T{n},2025-03-0{n}T10:00:00Z,a{n % 3},{n}.50\n" for n in range(1, 9))
    (tmp_path / "s.csv").write_text(f"id,at,customer,amount\n{lines}", encoding="utf-8")
    seen = "import sys, strata\ntry: strata.main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", seen, "init", "s.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["portfolio.toml", "s.csv"]
