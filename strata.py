"""Strata's command line: one command a stage, few lines each.

What goes wrong ends with one sentence on standard error and an exit code: 2 bad input, 3 busy, 4
broken.
"""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pipeline.ingest.ingested import Ingested
    from pipeline.progress import Progress
    from pipeline.train.report import Trained
    from pipeline.workspace import Workspace


class Moment(click.ParamType[datetime]):
    """An ISO 8601 time; UTC where it has no offset."""

    name = "time"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no ISO 8601 time; write it like 2025-03-01 or 2025-03-01T12:00:00Z",
                param,
                ctx,
            )
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


MOMENT = Moment()
# how long status waits for an MLflow server
ANSWER_SOON = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
ADOPT = click.option(
    "--adopt",
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, value: context.meta.update({"adopt": value}),
    help="Take a store on as it is that does not fit the others.",
)


def of_portfolio(command: "Callable[..., None]") -> "Callable[..., None]":
    """A command on one portfolio."""
    return click.argument("portfolio", type=click.Path(path_type=Path))(ADOPT(command))


@click.group()
def cli() -> None:
    """Find fraud in transactions, measure the finding honestly, and let analysts decide."""


@cli.command()
@click.option("--seed", default=1, show_default=True, help="Another seed, another world.")
@click.option("--transactions", default=200_000, show_default=True)
@click.option("--days", default=90, show_default=True)
@click.option(
    "--fraud-rate",
    default=0.005,
    show_default=True,
    help="Share of the transactions that are fraud.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write to.",
)
def simulate(seed: int, transactions: int, days: int, fraud_rate: float, out: Path) -> None:
    """Write a seeded world with planted fraud: Parquet files and their portfolio.toml."""
    from pipeline.simulate.simulate import SimulateConfig, write
    from pipeline.simulate.simulate import simulate as run

    config = SimulateConfig(seed=seed, transactions=transactions, days=days, fraud_rate=fraud_rate)
    with progress().step("simulating"):
        file = write(run(config), out)
    click.echo(f"{transactions:,} transactions written; next: strata ingest {file}")


@cli.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("portfolio.toml"),
    show_default=True,
    help="Where to write; never over a file that is there.",
)
@click.option(
    "--convert",
    type=click.Path(path_type=Path),
    help="Turn the [columns] of a portfolio.toml of release 0.1 round instead.",
)
def init(files: tuple[Path, ...], out: Path, convert: Path | None) -> None:
    """Propose a portfolio.toml from files, with every doubt in it, and say what it would take in.

    FILES are csv, tsv, json lines or Parquet files, folders of them or patterns.
    """
    from pipeline.proposal.conversion import convert as turn
    from pipeline.proposal.report import propose_and_try

    if (convert is None) == (not files):
        raise click.UsageError("name files to propose a portfolio from, or one to --convert")
    if out.exists():
        raise click.ClickException(
            f"{out} is there already and nothing is written over it; name another with --out"
        )
    if convert is not None:
        write_new(out, turn(convert))
        click.echo(f"{out} is {convert} with ours = theirs; next: strata ingest {out} --dry-run")
        return
    proposed = propose_and_try(files, out=out, now=now())
    write_new(out, proposed.text)
    click.echo(proposed.report)
    if proposed.unanswered:
        raise click.ClickException(proposed.unanswered)
    click.echo(f"next: read {out}, then strata ingest {out}")


@cli.command()
@of_portfolio
@click.option("--dry-run", is_flag=True, help="Say what would come of it, and take nothing in.")
@click.option("--again", is_flag=True, help="Read files that were taken before, as corrections.")
@click.option("--accept", is_flag=True, help="Take in as it is what would be stopped.")
def ingest(portfolio: Path, dry_run: bool, again: bool, accept: bool) -> None:
    """Take the source's rows in; what fails its checks is kept in quarantine with the reason."""
    workspace = open_workspace(portfolio)
    done = take_in(workspace, dry_run=dry_run, again=again, accept=accept)
    for remark in done.remarks:
        click.echo(remark, err=True)
    click.echo(f"{done.counts}, labels {done.labels:,}")
    if workspace.portfolio.labels.path:
        click.echo(f"labels: {done.label_files.counts}")
    if done.failed and not dry_run:
        raise click.ClickException(
            f"{done.failed:,} of {done.read:,} records went to quarantine: {done.commonest}; mend "
            "them in the source and ingest again (all other rows were taken in), or see strata "
            f"quarantine list {portfolio}"
        )
    labels = done.label_files
    if (unread := labels.quarantined + labels.torn) and not dry_run:
        raise click.ClickException(
            f"{unread:,} of {labels.read:,} labels cannot be read, e.g. because "
            f"{labels.examples[0]}; mend columns in [labels] and ingest --again, or their file "
            "(all other labels were taken in)"
        )
    if done.alarms and not dry_run:
        raise click.ClickException(
            f"the feed has changed: {done.changes[-1]}; what it has was taken in, so mend "
            f"{portfolio} and ingest --again, or ask whoever delivers it"
        )


@cli.group()
def quarantine() -> None:
    """Rows that could not be taken: why, and what becomes of them."""


REASON = click.option(
    "--reason", "reasons", multiple=True, help="A reason's number in the list, or part of it."
)


@quarantine.command("list")
@of_portfolio
@click.option("--dropped", is_flag=True, help="What was dropped, instead of what is held.")
def list_reasons(portfolio: Path, dropped: bool) -> None:
    """Every reason with its number of rows, since when, an example, and what to write."""
    from pipeline.ingest.held_rows import format_reasons

    for line in format_reasons(open_workspace(portfolio).lake, dropped=dropped):
        click.echo(line)


@quarantine.command()
@of_portfolio
@REASON
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--dropped", is_flag=True, help="What was dropped, instead of what is held.")
def show(portfolio: Path, reasons: tuple[str, ...], limit: int, dropped: bool) -> None:
    """Rows as they came, the latest first; card numbers are masked."""
    from pipeline.ingest.held_rows import format_rows

    lake = open_workspace(portfolio).lake
    for line in format_rows(lake, reasons=reasons, limit=limit, dropped=dropped):
        click.echo(line)


@quarantine.command()
@of_portfolio
@REASON
def replay(portfolio: Path, reasons: tuple[str, ...]) -> None:
    """Take held rows in again, after the portfolio was mended; what fails again stays."""
    from pipeline.ingest.ingest import replay as run

    workspace = open_workspace(portfolio)
    done = run(
        workspace.portfolio,
        workspace.lake,
        now=now(),
        reasons=reasons,
        progress=progress(),
        spill=workspace.settings.spill,
    )
    for remark in done.remarks:
        click.echo(remark, err=True)
    click.echo(f"{done.counts}, labels {done.labels:,}")
    if done.failed:
        raise click.ClickException(
            f"{done.failed:,} of {done.read:,} rows stay in quarantine: {done.commonest}; mend "
            f"{portfolio} and replay again, or drop them (all other rows were taken in)"
        )


@quarantine.command()
@of_portfolio
@REASON
@click.option("--id", "keys", multiple=True, help="A transaction_id, or what show prints first.")
@click.option("--note", required=True, help="Why, for whoever asks later.")
@click.option("--by", help="Who drops them  [default: the user who is signed in].")
def drop(
    portfolio: Path, reasons: tuple[str, ...], keys: tuple[str, ...], note: str, by: str | None
) -> None:
    """Give rows up: they stay, marked by whom and when, and are not counted any more."""
    from getpass import getuser

    from pipeline.ingest.held_rows import drop as run

    lake = open_workspace(portfolio).lake
    who = by or getuser()
    dropped = run(lake, reasons=reasons, keys=keys, by=who, note=note, now=now())
    click.echo(f"dropped {dropped:,} row(s); strata quarantine list {portfolio} --dropped has them")


@cli.command()
@of_portfolio
@click.option("--as-of", type=MOMENT, help="Train on what was known then  [default: at the end].")
@click.option(
    "--from",
    "bundle",
    type=click.Path(path_type=Path),
    help="Begin with what this bundle's network knows.",
)
@click.option(
    "--models",
    default="layered,xgboost,logistic",
    show_default=True,
    help="Names with commas between them.",
)
@click.option("--champion", help="Register this one of them  [default: the one recommended].")
@click.option("--budget", help="Search so long, such as 5m, for the classical models' settings.")
@click.option("--learning-curve", is_flag=True, help="Show the network's, too (minutes).")
def train(
    portfolio: Path,
    as_of: datetime | None,
    bundle: Path | None,
    models: str,
    champion: str | None,
    budget: str | None,
    learning_curve: bool,
) -> None:
    """Train the candidates, compare them on later weeks, record it all, register a challenger."""
    from pipeline.models.baselines.tuning import Budget
    from pipeline.registry.bundle import read_bundle
    from pipeline.train.report import format_report

    workspace = open_workspace(portfolio)
    trials = workspace.settings.home / "tuning" / f"{workspace.portfolio.name}.log"
    trained, version = train_and_record(
        workspace,
        as_of,
        tell=click.echo,
        models=names_in(models),
        champion=champion,
        budget=Budget.of(budget, file=trials) if budget is not None else None,
        start=read_bundle(bundle) if bundle else None,
        has_network_curve=learning_curve,
    )
    click.echo(format_report(trained))
    click.echo(f"registered as challenger: version {version}; next: strata promote {portfolio}")


@cli.command()
@of_portfolio
def promote(portfolio: Path) -> None:
    """Make the challenger champion, if its figures allow it."""
    from pipeline.registry.promotion import promote as run

    workspace = open_workspace(portfolio)
    result = run(workspace.registry, workspace.portfolio.name)
    for reason in result.reasons:
        click.echo(reason)
    if not result.allowed:
        raise click.ClickException(
            f"version {result.version} stays challenger, because of what is marked no; "
            "train again on better data"
        )
    click.echo(f"version {result.version} is champion; next: strata score {portfolio}")


@cli.command()
@of_portfolio
def rollback(portfolio: Path) -> None:
    """Bring back the version the champion took over from."""
    from pipeline.registry.promotion import rollback as run

    workspace = open_workspace(portfolio)
    result = run(workspace.registry, workspace.portfolio.name)
    before = f"version {result.replaced} is champion no more"
    click.echo(f"version {result.version} is champion again; {before}")


@cli.command()
@of_portfolio
@click.option(
    "--until", type=MOMENT, help="Score what stands before this moment  [default: everything]."
)
@click.option(
    "--engine",
    type=click.Choice(["kernel", "spark"]),
    help="What builds the features  [default: STRATA_ENGINE, else kernel].",
)
def score(portfolio: Path, until: datetime | None, engine: str | None) -> None:
    """Score whatever is unscored, and raise alerts."""
    workspace = open_workspace(portfolio, engine=engine)
    scored, new_alerts = score_and_alert(workspace, until)
    click.echo(f"scored {scored:,}, new alerts {new_alerts:,}; next: strata dashboard")


@cli.command()
@of_portfolio
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="New folder to write to.",
)
def export(portfolio: Path, to: Path) -> None:
    """Write the champion as an ONNX bundle, which onnxruntime and numpy alone score with."""
    from pipeline.export.export import export as run

    workspace = open_workspace(portfolio)
    version, folder = workspace.champion.version, run(workspace.champion.bundle, to)
    click.echo(f"version {version} is in {folder}; its scorer.py says how to score with it")


@cli.command()
@of_portfolio
@click.option("--train-from", type=MOMENT, required=True)
@click.option("--train-until", type=MOMENT, required=True)
@click.option("--test-from", type=MOMENT, required=True)
@click.option("--test-until", type=MOMENT, required=True)
@click.option(
    "--models", default="layered,xgboost", show_default=True, help="Names with commas between them."
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Parquet file to write.",
)
def backtest(
    portfolio: Path,
    train_from: datetime,
    train_until: datetime,
    test_from: datetime,
    test_until: datetime,
    models: str,
    seed: int,
    out: Path,
) -> None:
    """Train as one would have on a day, and score the weeks after it."""
    from pipeline.evaluation.time_split import Split
    from pipeline.train.backtest import backtest as run
    from pipeline.train.backtest import write_scores

    workspace = open_workspace(portfolio)
    split = Split(
        train_from=train_from, train_until=train_until, test_from=test_from, test_until=test_until
    )
    names = names_in(models)
    scores = run(
        workspace.portfolio,
        workspace.lake,
        split,
        names,
        build_config=workspace.settings.build_config,
        seed=seed,
        progress=progress(),
    )
    write_scores(scores, out)
    click.echo(f"{len(scores) // len(names):,} transactions scored by {', '.join(names)}: {out}")


@cli.command()
@click.argument("portfolio", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@ADOPT
def status(portfolio: Path | None, as_json: bool) -> None:
    """What is there, what is late and what to do next; of one portfolio, or of all in the lake."""
    from pipeline.status import format_status, overdue
    from pipeline.status import status as run

    os.environ.update(ANSWER_SOON)
    workspace = open_workspace(portfolio)
    names = [workspace.portfolio.name] if portfolio else workspace.portfolios
    found = {name: run(name, workspace) for name in names}
    if as_json:
        click.echo(json.dumps(found[names[0]] if portfolio else found, indent=1))
        return
    for name, facts in found.items():
        late = overdue(name, workspace, now=now())
        click.echo(format_status(name, facts, late, workspace))
    if not found:
        lake = workspace.settings.lake_url
        click.echo(f"nothing in {lake} yet; start with strata demo or strata ingest PORTFOLIO")


@cli.command()
@click.argument("portfolio", type=click.Path(path_type=Path), required=False)
@click.option("--repair", is_flag=True, help="Bring broken tables back to what is proven.")
def check(portfolio: Path | None, repair: bool) -> None:
    """Read every file of the lake and of the states; of one portfolio, or of all."""
    from pipeline.lake.repair import check_lakes

    workspace = open_workspace(portfolio)
    check_lakes(
        workspace.lakes,
        states=workspace.settings.state_folder,
        is_repaired=repair,
        now=now(),
        tell=click.echo,
    )


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Copy lake, databases and models to a new folder, as of one moment, while runs go on."""
    from pipeline.stores.backup import back_up

    workspace = open_workspace()
    stores, home = (workspace.agreement, workspace.registry), workspace.settings.home
    click.echo(f"backed up {back_up(*stores, folder, home=home, now=now()).told}: {folder}")


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def restore(folder: Path) -> None:
    """Make a home of a backup: STRATA_HOME names it, and it must be empty or new."""
    from pipeline.stores.backup import restore as run

    settings = open_workspace().settings
    settings.require_in_home()
    click.echo(f"restored {run(folder, settings.home).told}; next: strata status")


@cli.command()
@ADOPT
def upgrade() -> None:
    """Bring a home of an earlier release forward; killed, it is run again."""
    from pipeline.stores.upgrade import bring_forward

    workspace = open_workspace()
    for sentence in bring_forward(workspace.agreement, workspace.registry):
        click.echo(sentence)


@cli.group()
def user() -> None:
    """People who may sign in to the review desk."""


@user.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["analyst", "senior", "manager", "viewer"]), required=True
)
@ADOPT
def add(name: str, role: str) -> None:
    """Add a person and print the password made for them, once."""
    from typing import cast

    from pipeline.casework import Role, add_user

    password = add_user(open_workspace().casework, name, role=cast(Role, role), now=now())
    click.echo(f"{name} ({role}) may sign in with the password {password}")


@cli.command()
@click.option(
    "--port", default=8600, show_default=True, help="Of the review desk; MLflow has the next one."
)
@ADOPT
def dashboard(port: int) -> None:
    """Serve the review desk and MLflow on this machine until interrupted."""
    from dashboards.app import create_app, serve
    from pipeline.child_process import run_child_process
    from pipeline.registry.changes import make_file, mend

    workspace = open_workspace()
    settings, app = workspace.settings, create_app(workspace.casework)
    make_file(workspace.registry)
    mend(workspace.registry)
    options = ["--backend-store-uri", settings.mlflow_tracking_uri, "--port", str(port + 1)]
    command = [sys.executable, "-m", "mlflow", "server", *options]
    # MLflow resolves the addresses of artifacts in its working folder
    with run_child_process(command, os.environ, folder=settings.home):
        desk, mlflow = (f"http://127.0.0.1:{number}" for number in (port, port + 1))
        click.echo(f"review desk: {desk}   MLflow: {mlflow}   (Ctrl-C ends both)")
        serve(app, port=port)


@cli.command()
@click.argument("portfolios", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--every",
    default=3600,
    show_default=True,
    type=click.IntRange(min=1),
    help="Seconds between two runs.",
)
@click.option(
    "--port",
    default=4200,
    show_default=True,
    help="Of the Prefect server started here if PREFECT_API_URL names none.",
)
@ADOPT
def flows(portfolios: tuple[Path, ...], every: int, port: int) -> None:
    """Ingest, collect verdicts and score on a schedule until interrupted."""
    from datetime import timedelta

    from flows.server import serve_portfolios

    for portfolio in portfolios:
        check_stores(open_workspace(portfolio))
    names = ", ".join(str(portfolio) for portfolio in portfolios)
    click.echo(f"every {every} s: {names}   (Ctrl-C ends it)")
    serve_portfolios(portfolios, every=timedelta(seconds=every), port=port)


@cli.command()
@click.option("--transactions", default=150_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@ADOPT
def demo(transactions: int, seed: int) -> None:
    """Go the whole way on a simulated portfolio, and say where to look."""
    from datetime import timedelta

    from pipeline.registry.promotion import promote as decide
    from pipeline.simulate.simulate import SimulateConfig, write
    from pipeline.simulate.simulate import simulate as run
    from pipeline.train.report import format_report

    home = open_workspace().settings.home
    config = SimulateConfig(seed=seed, transactions=transactions)
    size = f"{transactions:,} transactions of {config.days} days"
    click.echo(f"1 simulate  {size}, {config.fraud_rate:.1%} fraud")
    with progress().step("simulating"):
        file = write(run(config), home / "world")
    workspace = open_workspace(file)
    done = take_in(workspace)
    click.echo(f"2 ingest    {done.counts}")
    trained, version = train_and_record(workspace, config.start + timedelta(days=config.days - 7))
    click.echo(f"3 train     candidates compared on the same later weeks\n{format_report(trained)}")
    promotion = decide(workspace.registry, workspace.portfolio.name)
    click.echo(
        f"4 promote   version {version}: {'champion' if promotion.allowed else 'not allowed'}"
    )
    for reason in promotion.reasons:
        click.echo(f"            {reason}")
    scored, new_alerts = score_and_alert(workspace, None)
    click.echo(f"5 score     {scored:,} transactions of the last week, {new_alerts:,} new alerts")
    click.echo("\nReview desk: http://127.0.0.1:8600    MLflow: http://127.0.0.1:8601")
    click.echo(f"Serve both with: {program()} dashboard")
    click.echo(f"A name to sign in with: {program()} user add YOU --role analyst")


def train_and_record(
    workspace: "Workspace",
    as_of: datetime | None,
    tell: "Callable[[str], None]" = lambda _: None,
    **chosen: "Any",
) -> tuple["Trained", str]:
    """Train as of a moment, with what else `pipeline.train.train` is given, and record it.

    What the data is like is told before. Returns the training and the version registered.
    """
    from pipeline.ingest.verdicts import collect_labels
    from pipeline.train.data_report import data_report, format_data_report
    from pipeline.train.recording import record
    from pipeline.train.train import train as run

    collect_labels(workspace.lake, workspace.casework)
    report = data_report(workspace.portfolio, workspace.lake, as_of=as_of)
    for line in format_data_report(report, workspace.portfolio):
        tell(line)
    teller = progress()
    trained = run(
        workspace.portfolio,
        workspace.lake,
        as_of=as_of,
        build_config=workspace.settings.build_config,
        resume=workspace.settings.home / "training" / workspace.portfolio.name,
        report=report,
        progress=teller,
        **chosen,
    )
    return trained, record(workspace.own_registry, trained, progress=teller).number


def names_in(words: str) -> tuple[str, ...]:
    """The names in words with commas between them."""
    return tuple(name.strip() for name in words.split(",") if name.strip())


def take_in(
    workspace: "Workspace", *, dry_run: bool = False, again: bool = False, accept: bool = False
) -> "Ingested":
    """Ingest what the source has."""
    from pipeline.ingest.ingest import ingest as run

    done = run(
        workspace.portfolio,
        workspace.lake,
        now=now(),
        progress=progress(),
        dry_run=dry_run,
        again=again,
        accept=accept,
        spill=workspace.settings.spill,
    )
    if not dry_run:
        workspace.agreement.settle_lake()
    return done


def score_and_alert(workspace: "Workspace", until: datetime | None) -> tuple[int, int]:
    """Collect verdicts and score.

    Returns how many transactions were scored and how many alerts are new.
    """
    from pipeline.ingest.verdicts import collect_labels
    from pipeline.score.score import score as run

    collect_labels(workspace.lake, workspace.casework)
    done = run(
        workspace.portfolio,
        workspace.lake,
        workspace.casework,
        workspace.champion,
        build_config=workspace.settings.build_config,
        now=now(),
        until=until,
        progress=progress(),
    )
    return done.scored, done.alerts.new_alerts


def write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8", newline="") as opened:
            opened.write(text)
    except OSError as error:
        raise click.ClickException(
            f"{file} cannot be written ({error.strerror}); name another with --out"
        ) from error


def program() -> str:
    """How this command line was called."""
    return os.path.relpath(sys.argv[0]) if "/" in sys.argv[0] else Path(sys.argv[0]).name


def now() -> datetime:
    """The clock is read here and handed on."""
    return datetime.now(UTC)


def check_stores(workspace: "Workspace") -> None:
    """Refuse a portfolio that has no champion yet, or a store that does not fit."""
    _ = workspace.champion, workspace.casework


def open_workspace(file: Path | None = None, *, engine: str | None = None) -> "Workspace":
    """What a command works with; the environment is read here and handed on."""
    from pipeline.settings import Settings
    from pipeline.workspace import Workspace

    context = click.get_current_context(silent=True)
    adopt = bool(context and context.meta.get("adopt"))
    environment = {**os.environ, **({"STRATA_ENGINE": engine} if engine else {})}
    return Workspace(settings=Settings.read(environment), file=file, adopt=adopt)


def progress() -> "Progress":
    """Whom a command tells how far it is: a bar on a terminal, else a line every ten seconds."""
    from pipeline.progress import Bars, Lines

    return Bars() if sys.stderr.isatty() else Lines(lambda line: click.echo(line, err=True))


def main() -> None:
    """Run the command line; what goes wrong is said in one sentence, with its exit code."""
    quiet_environment()
    # so that what runs beside us is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        remedy = "; see strata --help" if isinstance(error, click.UsageError) else ""
        fail(f"{error.format_message().rstrip('.?' if remedy else '.')}{remedy}", code=2)
    except Exception as error:
        fail_with(error)


def fail_with(error: Exception) -> NoReturn:
    """End with the sentence and the exit code of an error, and keep details of a strange one."""
    from tempfile import gettempdir

    from pipeline.failures import explain, write_details

    failure = explain(error)
    if failure.is_expected:
        fail(failure.sentence, code=failure.code)
    home = Path(os.environ.get("STRATA_HOME") or ".strata")
    log = write_details(error, home if home.is_dir() else Path(gettempdir()))
    fail(f"{failure.sentence}; the details are in {log}, please report them", code=failure.code)


def fail(sentence: str, *, code: int) -> NoReturn:
    """Say the sentence on standard error and end with the code."""
    click.echo(f"strata: {sentence}", err=True)
    sys.exit(code)


def quiet_environment() -> None:
    """Nothing that runs under us calls home, unpickles, or talks over our own words."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # of threads that wait for one another
    os.environ.setdefault(
        "PREFECT_HOME", str(Path(os.environ.get("STRATA_HOME") or ".strata").absolute() / "prefect")
    )
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


if __name__ == "__main__":
    main()
