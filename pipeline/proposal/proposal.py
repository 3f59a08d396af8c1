"""A whole portfolio.toml proposed from files: what they mean, each doubt with rows that show it."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.portfolio import PortfolioError
from pipeline.portfolio_tables import AUTO, Csv
from pipeline.proposal.columns import Facts, put_columns, put_joined
from pipeline.proposal.draft import Doubt, Draft, named
from pipeline.proposal.forms import find_decimal, find_parts
from pipeline.proposal.labels import put_labels
from pipeline.proposal.mapping import Mapping, find_keys, find_mapping, find_series, unmapped
from pipeline.proposal.profile import Column, Profile, profiled
from pipeline.proposal.related import Related, find_related
from pipeline.proposal.sample import Sheet, find_files, find_sheets, path_of, take_parts
from pipeline.sources.delivery import literal
from pipeline.sources.readers import find_dialect
from pipeline.sources.text_files import open_text

NEEDED = ("event_time", "amount", "account_id")
MIN_CAPACITY, MAX_CAPACITY = 5, 100
REVIEWED_SHARE = 0.01  # of a day's payments
NO_VALUE = "unknown|missing|empty|not available|not provided|n[.]a[.]|leer|unbekannt|inconnu|vide"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The draft, the sheets it was made from by the name they have in it, and what was seen."""

    draft: Draft
    main: Sheet
    sheets: dict[str, Sheet]  # by their path in the file
    rows: int
    columns: int


def propose(paths: Sequence[Path], *, out: Path, folder: Path) -> Proposal:
    """Propose a portfolio.toml that will stand at `out`; `folder` is for what is looked at.

    Raises PortfolioError where there are no files, or they cannot be read.
    """
    found = find_sheets(paths)
    with ExitStack() as opened:
        profiles = []
        for at, sheet in enumerate(found):
            spill = folder / f"spill{at}"
            spill.mkdir()
            parts = take_parts(sheet, folder / f"sheet{at}")
            profiles.append(opened.enter_context(profiled(parts, spill)))
        if not any(profile.rows for profile in profiles):
            raise PortfolioError(f"{paths[0]} has no rows; name data with some hundreds of them")
        return _propose(profiles, out=out, folder=folder)


def _propose(profiles: list[Profile], *, out: Path, folder: Path) -> Proposal:
    parts_of = [find_parts(profile) for profile in profiles]
    mappings = [find_mapping(one, parts) for one, parts in zip(profiles, parts_of, strict=True)]
    main = max(
        range(len(profiles)), key=lambda at: _likelihood(profiles[at], mappings[at], parts_of[at])
    )
    profile, mapping, parts = profiles[main], mappings[main], parts_of[main]
    others = [one for at, one in enumerate(profiles) if at != main]
    related, strangers = find_related(profile, mapping, others)
    draft, home = Draft(), out.absolute().parent
    draft.put("", "name", _name(profile.sheet))
    draft.tables |= {name: [] for name in ("source", "source.csv", "columns")}
    facts = put_columns(draft, profile, mapping, parts)
    for other in related:
        if other.kind == "join":
            put_joined(draft, other.profile, mapping, facts.time_format)
    if {*NEEDED} <= {*draft.missing}:
        raise PortfolioError(
            f"{profile.sheet.files[0].path} has neither times nor money nor anybody who pays, so "
            f"no payments (its columns are {', '.join(profile.sheet.names[:12])}); name other files"
        )
    sheets = _put_source(draft, profile, mapping, facts, related, home=home)
    _put_csv(draft, profile, mapping, facts, folder)
    put_labels(draft, profile, mapping, related, home=home, sheets=sheets)
    _put_groups(draft, profile, related)
    _put_keys(draft, profile, mapping, parts)
    _put_review(draft, profile, mapping, facts)
    draft.tables = {name: lines for name, lines in draft.tables.items() if lines}
    draft.head = list(_head(profile, mapping, parts, related, strangers))
    return Proposal(
        draft=draft,
        main=profile.sheet,
        sheets=sheets,
        rows=_rows_in_all(profile),
        columns=len(profile.columns),
    )


def _likelihood(
    profile: Profile, mapping: Mapping, parts: dict[str, Column]
) -> tuple[int, int, int]:
    """How likely a sheet is the payments: what is needed is there, then the rest, then rows."""
    needed = sum(ours in mapping.columns for ours in NEEDED) + bool(parts)
    return needed, len(mapping.columns), profile.rows


def _name(sheet: Sheet) -> str:
    """A name from the file's, as a portfolio may have it."""
    file = sheet.files[0].path
    stem = file.name.split(".")[0] if len(sheet.files) == 1 else file.parent.name
    plain = re.sub("[^a-z0-9_-]+", "-", stem.lower()).strip("-_")
    return plain[:60] if re.match("[a-z]", plain) else f"data-{plain[:50]}".strip("-")


def _head(
    profile: Profile,
    mapping: Mapping,
    parts: dict[str, Column],
    related: Sequence[Related],
    strangers: Sequence[Profile],
) -> list[str]:
    files = profile.sheet.files
    named_files = files[0].path.name if len(files) == 1 else f"{len(files)} files"
    whole = "all of it was" if profile.sheet.is_whole else "parts of it were"
    lines = [
        f"Proposed from {named_files} ({len(profile.columns)} columns, "
        f"{_rows_in_all(profile):,} rows; {whole} looked at). What is a guess is marked doubt, "
        "with rows that show it: read each, mend it, and see what comes of it by: "
        "strata ingest portfolio.toml --dry-run"
    ]
    left = unmapped(profile, mapping, parts)
    if left:
        more = f" and {len(left) - 40} more" if len(left) > 40 else ""
        lines.append(
            "Not taken, since none of Strata's columns is like them: "
            f"{', '.join(left[:40])}{more}. [groups.extra] takes one as a fact of your own."
        )
    for other in strangers:
        names = ", ".join(other.sheet.names[:8])
        shared = {*other.sheet.names} & {*profile.sheet.names}
        differ = ", ".join(name for name in other.sheet.names if name not in shared)[:200]
        says = f"has {names}" if not shared else f"has other columns ({differ or 'fewer'})"
        lines.append(
            f"doubt: {other.sheet.files[0].path.name} {says} and is not taken: it shares no id "
            "with the payments. A portfolio of its own may read it."
        )
    return lines


def _rows_in_all(profile: Profile) -> int:
    """How many rows the files have: as counted, else as those looked at say for their size."""
    return round(profile.records / profile.sheet.share)


def _put_source(
    draft: Draft,
    profile: Profile,
    mapping: Mapping,
    facts: Facts,
    related: Sequence[Related],
    *,
    home: Path,
) -> dict[str, Sheet]:
    path = path_of(profile.sheet, home)
    draft.put("source", "path", path)
    sheets = {path: profile.sheet}
    sheets |= _put_tables(draft, profile, related, home=home)
    for condition in [_all_of(facts)] if facts.where else []:
        draft.put("source", "where", condition, *(doubt for _, doubt in facts.where))
    if facts.time_format:
        draft.put("source", "time_format", facts.time_format)
    if facts.is_local:
        says = (
            "the times have no offset and are read as UTC. Where they are what a clock on the wall "
            'showed, write its zone, such as "Europe/Paris".'
        )
        rows = profile.rows_of(facts.time_rows)
        draft.put("source", "time_zone", "UTC", Doubt(about="time_zone", says=says, rows=rows))
    if facts.money is not None and facts.money.is_minor:
        column = mapping.columns["amount"]
        says = (
            f"all of {column.name!r} are whole numbers and large, so cents, by the number of "
            'decimals of the currency. Write "major" where they are not.'
        )
        doubt = Doubt(about="amount_unit", says=says, rows=profile.rows_of([column]))
        draft.put("source", "amount_unit", "minor", doubt)
    if "transaction_id" not in mapping.columns:
        _put_identity(draft, profile, mapping, facts)
    return sheets


def _all_of(facts: Facts) -> str:
    conditions = [condition for condition, _ in facts.where]
    return conditions[0] if len(conditions) == 1 else " AND ".join(f"({one})" for one in conditions)


def _put_tables(
    draft: Draft, profile: Profile, related: Sequence[Related], *, home: Path
) -> dict[str, Sheet]:
    """Tables that are joined to the payments by a query."""
    joined = [one for one in related if one.kind == "join"]
    if not joined:
        return {}
    tables = {
        _table_name(one, at): path_of(one.profile.sheet, home) for at, one in enumerate(joined)
    }
    there = {*profile.sheet.names}
    parts, chosen = ["source"], ["source.*"]
    for table, one in zip(tables, joined, strict=True):
        fresh = [name for name in one.profile.sheet.names if name and name not in there]
        there |= {*fresh}
        same = [name for name in one.profile.sheet.names if name not in fresh]
        left_out = f" EXCLUDE ({', '.join(map(named, same))})" if same else ""
        chosen.append(f"{table}.*{left_out}")
        on = f"source.{named(one.theirs.name)} = {table}.{named(one.own.name)}"
        parts.append(f"LEFT JOIN {table} ON {on}")
    says = "the tables share this id; each payment keeps its row where the other table has none."
    rows = profile.rows_of([joined[0].theirs])
    draft.put("source", "tables", tables)
    query = f"SELECT {', '.join(chosen)} FROM {' '.join(parts)}"
    draft.put("source", "query", query, Doubt(about="query", says=says, rows=rows))
    return {path: one.profile.sheet for path, one in zip(tables.values(), joined, strict=True)}


def _table_name(related: Related, at: int) -> str:
    words = re.findall("[a-z0-9]+", related.path.name.split(".")[0].lower())
    name = "_".join(words)
    return name if re.match("[a-z]", name) and name != "source" else f"table{at + 1}"


def _put_identity(draft: Draft, profile: Profile, mapping: Mapping, facts: Facts) -> None:
    """Without an id, a row is told from others by these columns, frozen here."""
    chosen = [*facts.time_rows, *mapping.composite, *mapping.columns.values()]
    label = mapping.columns.get("is_fraud")
    known = mapping.columns.get("label_known_at")
    columns = {one.name: one for one in chosen if one not in (label, known)}
    listed = ", ".join(column.sql for column in columns.values())
    if not listed:
        return
    (copies,) = profile.ask(
        "coalesce(sum(n - 1), 0)", given=f"(SELECT count(*) AS n FROM sheet GROUP BY {listed})"
    )
    says = "there is no id, so these columns tell one payment from another; keep them as they are."
    rows: tuple[str, ...] = ()
    if int(str(copies)):
        says += (
            f" {int(str(copies)):,} rows say the same in all of them: they are counted as payments "
            "of their own within a file, and cannot be told from copies."
        )
        same = f"({listed}) IN (SELECT ({listed}) FROM sheet GROUP BY {listed} HAVING count(*) > 1)"
        rows = profile.rows_of([*columns.values()][:5], same)
    else:
        rows = profile.rows_of([*columns.values()][:5])
    doubt = Doubt(about="identity", says=says, rows=rows)
    draft.put("source", "identity", [*columns], doubt)


def _put_csv(draft: Draft, profile: Profile, mapping: Mapping, facts: Facts, folder: Path) -> None:
    """How the files are written, frozen: a later one that is written otherwise is said."""
    if profile.sheet.files[0].form == "parquet":
        return
    nulls = _further_nulls(profile, mapping)
    if profile.sheet.files[0].form == "csv":
        _put_dialect(draft, profile, folder)
        decimal, thousands = _number_signs(profile, mapping)
        if decimal:
            draft.put("source.csv", "decimal", decimal)
            draft.put("source.csv", "thousands", thousands)
    if nulls:
        rows = tuple(row for _, row in nulls)
        says = "these words are taken to say that a value is missing."
        words = list(dict.fromkeys(word for word, _ in nulls))
        draft.put("source.csv", "nulls", words, Doubt(about="nulls", says=says, rows=rows[:3]))


def _put_dialect(draft: Draft, profile: Profile, folder: Path) -> None:
    part = find_files(profile.sheet.parts[0])[0]
    spill = folder / "dialect"
    spill.mkdir()
    text = open_text(part, encoding=AUTO, quote='"', spill=spill)
    dialect = find_dialect(text.head, Csv())
    draft.put("source.csv", "delimiter", dialect.delimiter)
    draft.put("source.csv", "quote", '"')
    if profile.sheet.is_whole or text.encoding != "utf-8":
        draft.put("source.csv", "encoding", text.encoding)
    has_header = dialect.records_above > 0
    doubts = []
    if not has_header:
        says = "the first row is taken to be data, so the columns are column0, column1, ..."
        doubts.append(Doubt(about="header", says=says, rows=profile.rows_of(profile.columns[:6])))
    draft.put("source.csv", "header", "yes" if has_header else "no", *doubts)


def _number_signs(profile: Profile, mapping: Mapping) -> tuple[str, str]:
    """The signs in numbers, where all columns of numbers that are taken agree."""
    numbers = ("amount", "latitude", "longitude", "merchant_latitude", "merchant_longitude")
    found = {
        find_decimal(profile, mapping.columns[ours]) for ours in numbers if ours in mapping.columns
    }
    told = {signs for signs in found if signs[0]}
    decimals = {decimal for decimal, _ in told}
    if len(decimals) != 1 or (len(found) > 1 and decimals == {","}):
        return "", ""
    return max(told, key=lambda signs: len(signs[1]))


def _further_nulls(profile: Profile, mapping: Mapping) -> list[tuple[str, str]]:
    """Words in columns of numbers and times that are neither, with a row that has each."""
    found = []
    for column in mapping.columns.values():
        form = next((one for one in ("number", "iso", "ip") if column.is_mostly(one, 0.5)), "")
        if not form or column.kind != "VARCHAR":
            continue
        is_odd = f"regexp_full_match(lower({column.sql}), '[-?.x*_ ]{{1,5}}|{NO_VALUE}')"
        odd = profile.connection.execute(
            f"SELECT DISTINCT {column.sql} FROM sheet WHERE {is_odd} ORDER BY 1 LIMIT 4"
        ).fetchall()
        if 0 < len(odd) < 4:
            for (word,) in odd:
                rows = profile.rows_of([column], f"{column.sql} = {literal(word)}")
                found.append((str(word), rows[0]))
    return found


def _put_groups(draft: Draft, profile: Profile, related: Sequence[Related]) -> None:
    """Columns without a meaning of their own, by the pattern of their names."""
    joined = [one.profile for one in related if one.kind == "join"]
    names = [name for one in (profile, *joined) for name in one.sheet.names]
    found = [(one, series) for one in (profile, *joined) for series in find_series(one, names)]
    for seen_in, series in found:
        numbers = [one for one in series.columns if one.is_number or not one.count]
        is_number = 2 * len(numbers) >= len(series.columns)
        table = f"groups.extra.{series.name}"
        said = (
            f"{len(series.columns)} columns {series.columns[0].name} to {series.columns[-1].name}"
        )
        says = f"{said} join the stage of the amount as they are; nothing says what they mean."
        others = [one for one in series.columns if one not in numbers and one.count]
        if is_number and others:
            says += f" Not numbers, so missing: {', '.join(one.name for one in others[:8])}."
        shown = [*others[:1], *series.columns[:2]] if is_number else series.columns[:3]
        doubt = Doubt(about=table, says=says, rows=seen_in.rows_of(list(shown)))
        draft.put(table, "group", "amount", doubt)
        draft.put(table, "kind", "number" if is_number else "category")
        draft.put(table, "columns", series.pattern)


def _put_keys(draft: Draft, profile: Profile, mapping: Mapping, parts: dict[str, Column]) -> None:
    passed = {column.name for column in parts.values()}
    for name, (column, meaning) in find_keys(profile, mapping).items():
        if column.name in passed:
            continue
        says = f"a history is kept by {column.name!r}, which has {column.distinct:,} values."
        doubt = Doubt(about=f"keys.{name}", says=says, rows=profile.rows_of([column]))
        draft.put(f"keys.{name}", "column", column.name, doubt)
        draft.put(f"keys.{name}", "meaning", meaning)


def _put_review(draft: Draft, profile: Profile, mapping: Mapping, facts: Facts) -> None:
    """How many accounts are reviewed in a day, from how many payments a day has."""
    if not facts.moment:
        return
    first, last = profile.ask(f"min({facts.moment}), max({facts.moment})")
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return
    days = max(1.0, (last - first).total_seconds() / 86_400)
    in_all = _rows_in_all(profile) if profile.sheet.reaches_end else profile.records
    a_day = in_all / days
    capacity = round(min(MAX_CAPACITY, max(MIN_CAPACITY, REVIEWED_SHARE * a_day)))
    says = (
        f"{in_all:,} payments from {first:%Y-%m-%d} to {last:%Y-%m-%d} are {a_day:,.0f} a day; "
        f"one in a hundred, from {MIN_CAPACITY} to {MAX_CAPACITY}, is a guess at what your "
        "analysts can review."
    )
    draft.put("review", "capacity_per_day", capacity, Doubt(about="capacity_per_day", says=says))
