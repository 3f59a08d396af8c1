"""The SQL of a micro-batch: its rows are joined with the earlier rows their windows see, and no others.

Only rows of the keys it touches, and only of the days it needs, are taken from the history. Where a
window stands on windows, those are computed over the history itself if it holds all that they see,
else in the same way, one step further back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from features.declarations import LOOKBACK, Aggregate, microseconds
from features.known_fraud import LONGEST_WAIT
from features.sql.aggregates import call, value
from features.sql.labels import few_labels_query, verdict_query
from features.sql.plan import Part, Plan, reach
from features.sql.rows import TRANSACTIONS, Step, Table, is_stored, moment, some_rows
from features.sql.windows import in_doubles, inputs, known, lookup_query, named, select

# columns whose values a batch touches, and the columns of its past that hold them
Touch = tuple[tuple[str, ...], tuple[str, ...]]


def batch_tables(plan: Plan, since: datetime, columns: Sequence[str]) -> Iterator[Step]:
    """Write the tables of a plan's parts, for its rows, of which none stands before `since`."""
    pasts: dict[str, Plan] = {}
    for number, (touch, parts) in enumerate(_histories(plan, columns)):
        wanted = _wanted(plan, parts)
        past = Plan(plan.features.values(), rows=f"{plan.rows}_past_{number}", wanted=wanted)
        begin, whole = since - _longest_span(parts), _is_whole(past, touch)
        if whole:
            begin -= timedelta(microseconds=reach(past.features.values(), wanted))
        yield from _history_rows(plan, touch, past.rows, {*past.words, *wanted}, begin, columns)
        if whole:
            yield from (Table(name=part.table, query=past.windows(part)) for part in past.parts)
        else:
            yield from batch_tables(past, begin, columns)
        pasts |= dict.fromkeys((part.table for part in parts), past)
    yield from _verdicts(plan, since)
    for part in plan.parts:
        yield Table(name=part.table, query=_query(plan, part, pasts))


def pair_query(asking: str, acting: str, aggregates: Mapping[str, Aggregate]) -> str:
    """Write the query of aggregates that share a key, by their names: rows joined with their past."""
    one, *_ = aggregates.values()
    answers = _answers(aggregates.values())
    columns = [named(_value(aggregate, answers), name) for name, aggregate in aggregates.items()]
    found = [
        f"{in_doubles(text)} FILTER (WHERE as_of_us >= asking_us - {microseconds(span)}) AS {name}"
        for (text, span), name in answers.items()
    ]
    pairs = _pairs(asking, acting, aggregates.values())
    answered = f"{select(['asking_id', *found], f'({pairs}) AS pairs')} GROUP BY asking_id"
    joined = f"LEFT JOIN ({answered}) AS answered ON asked.row_id = answered.asking_id"
    asked = select(["row_id", *columns], f"{asking} AS asked {joined}")
    return f"{asked} WHERE {known(one.key)}"


def _pairs(asking: str, acting: str, aggregates: Iterable[Aggregate]) -> str:
    """Each asking row with each row of its past, and what the aggregates read of it."""
    aggregates = list(aggregates)
    one = aggregates[0]
    longest = max(microseconds(aggregate.span) for aggregate in aggregates)
    keys = zip(one.key, one.as_key, strict=True)
    same = " AND ".join(f"asking.{ours} = acting.{theirs}" for ours, theirs in keys)
    seen = f"acting.as_of_us < asking.as_of_us AND acting.as_of_us >= asking.as_of_us - {longest}"
    moments = ["asking.as_of_us AS asking_us", "acting.as_of_us AS as_of_us"]
    read = [f"acting.{name} AS {name}" for name in inputs(aggregates) if name != "as_of_us"]
    joined = f"{asking} AS asking JOIN {acting} AS acting ON {same} AND {seen}"
    return select(["asking.row_id AS asking_id", *moments, *read], joined)


def _answers(aggregates: Iterable[Aggregate]) -> dict[tuple[str, str], str]:
    """The names of the calls' answers, by call and span: what two aggregates share is asked once."""
    calls = dict.fromkeys((call(aggregate), aggregate.span) for aggregate in aggregates)
    return {asked: f"answer_{number}" for number, asked in enumerate(calls)}


def _value(aggregate: Aggregate, answers: Mapping[tuple[str, str], str]) -> str:
    """The aggregate's value; a count of no rows is 0."""
    text = call(aggregate)
    answer = answers[text, aggregate.span]
    return value(aggregate, f"coalesce({answer}, 0)" if text.startswith("count(") else answer)


def _histories(plan: Plan, columns: Sequence[str]) -> Iterator[tuple[Touch, list[Part]]]:
    """The windows over rows by the history they share: all that know the account share its rows."""
    shared: dict[Touch, list[Part]] = {}
    for part in plan.parts:
        if not part.is_lookup and not part.is_of_labels:
            shared.setdefault(_touched(part, columns), []).append(part)
    for touched, parts in shared.items():
        one = parts[0]
        stored = all(is_stored(name, columns) for name in (*one.key, *one.as_key))
        alone = len(parts) == 1 and stored  # it needs no row beside its very keys
        yield (one.key, one.as_key) if alone else touched, parts


def _touched(part: Part, columns: Sequence[str]) -> Touch:
    """Of a part's key the account, else all columns that are stored."""
    pairs = list(zip(part.key, part.as_key, strict=True))
    stored = [pair for pair in pairs if all(is_stored(name, columns) for name in pair)]
    account = [pair for pair in stored if pair == ("account_id", "account_id")]
    chosen = account or stored
    return tuple(ours for ours, _ in chosen), tuple(theirs for _, theirs in chosen)


def _is_whole(past: Plan, touch: Touch) -> bool:
    """Whether all that the windows on a history's rows see are rows of it, of the same values."""
    pairs = set(zip(*touch, strict=True))
    if not pairs or any(ours != theirs for ours, theirs in pairs):
        return False
    if any(part.is_lookup or part.is_of_labels for part in past.parts):
        return False
    return all(pairs <= set(zip(part.key, part.as_key, strict=True)) for part in past.parts)


def _wanted(plan: Plan, parts: Iterable[Part]) -> list[str]:
    """What the windows of these parts read of their past, and what is looked up in the rows they find."""
    wanted = set[str]()
    for part in parts:
        wanted |= {*inputs(part.aggregates.values()), *part.as_key}
        wanted |= _looked_up(plan, part.aggregates)
    return sorted(wanted)


def _looked_up(plan: Plan, found: Iterable[str]) -> set[str]:
    """What the features of a plan look up in the rows of these names."""
    rows = {*found}
    reading = [feature for feature in plan.features.values() if feature.lookup in rows]
    return set[str]().union(*(feature.needs() - {feature.lookup} for feature in reading))


def _history_rows(
    plan: Plan, touch: Touch, name: str, words: set[str], begin: datetime, columns: Sequence[str]
) -> list[Step]:
    """The rows that the windows see; in order only where one of them is to be the last."""
    touched, theirs = touch
    within, in_order = f"as_of >= {moment(begin)}", "row_id" in words
    # One column at a time is looked for while the files are read; several together only afterwards.
    given = [
        f"{one} IN (SELECT {own} FROM {plan.rows})"  # noqa: S608
        for own, one in zip(*touch, strict=True)
        if one in columns
    ]
    touched_values = f"SELECT {', '.join(touched)} FROM {plan.rows}"  # noqa: S608
    same = [f"({', '.join(theirs)}) IN ({touched_values})"] if theirs else []
    if all(one in columns for one in theirs):
        where = [within, *given, *same[: len(given) > 1]]
        return some_rows(name, words, columns, where=where, in_order=in_order)
    near = [_near(plan.rows, own) for own, one in zip(*touch, strict=True) if one == "ip_network"]
    where = [within, "ip_address IS NOT NULL", *given, *near]
    return some_rows(name, words, columns, where=where, among=same, in_order=in_order)


def _near(rows: str, own: str) -> str:
    """Whether an address may be of a row's network.

    The same then stands before the last point, or it is none of version 4.
    """
    start, networks = (f"regexp_replace({name}, '[^.]*$', '')" for name in ("ip_address", own))
    same = f"{start} IN (SELECT {networks} FROM {rows})"  # noqa: S608
    return f"({same} OR NOT regexp_matches(ip_address, '^[0-9.]*$'))"


def _verdicts(plan: Plan, since: datetime) -> Iterator[Step]:
    """The values of all keys whose fraud is asked for, numbered, and the verdicts on their rows."""
    keys = sorted({part.key[0] for part in plan.parts if part.is_of_labels})
    if not keys:
        return
    yield Table(name=f"{plan.rows}_keys", query=_key_values(plan, keys))
    begin = moment(since - _span(LOOKBACK) - _span(LONGEST_WAIT))
    judged = [
        select(
            ["key_id", "transaction_id", "as_of_us"],
            f"{TRANSACTIONS} JOIN {_keys(plan, key)} ON {key} = touched WHERE as_of >= {begin}",
        )
        for key in keys
    ]
    verdicts = verdict_query(f"({' UNION ALL '.join(judged)})", by=("key_id", "transaction_id"))
    seen = f"({verdicts}) AS verdicts WHERE seen_us > {_epoch_us(since)} - {microseconds(LOOKBACK)}"
    columns = ["key_id", "seen_us", "replaced_us", "is_fraud"]
    yield Table(name=f"{plan.rows}_verdicts", query=select(columns, seen))


def _key_values(plan: Plan, keys: Iterable[str]) -> str:
    touched = " UNION ALL ".join(
        f"SELECT DISTINCT '{key}' AS kind, {key} AS touched FROM {plan.rows} WHERE {known([key])}"  # noqa: S608
        for key in keys
    )
    return select(["row_number() OVER () AS key_id", "kind", "touched"], f"({touched}) AS found")


def _keys(plan: Plan, kind: str) -> str:
    return f"(SELECT key_id, touched FROM {plan.rows}_keys WHERE kind = '{kind}') AS keys"  # noqa: S608


def _query(plan: Plan, part: Part, pasts: Mapping[str, Plan]) -> str:
    if part.is_lookup:
        return _lookups(plan, part, pasts)
    asking = f"({plan.read([*part.key, 'as_of_us'])})"
    if part.is_of_labels:
        return few_labels_query(asking, part.aggregates, _verdicts_on(plan, part.key[0]))
    read = [*part.as_key, "as_of_us", *inputs(part.aggregates.values())]
    return pair_query(asking, f"({pasts[part.table].read(read)})", part.aggregates)


def _lookups(plan: Plan, part: Part, pasts: Mapping[str, Plan]) -> str:
    rows = sorted({feature.lookup for feature in part.features})
    earlier: dict[str, str] = {}
    for row in rows:
        past = pasts[plan.home(row).table]
        earlier[row] = f"({past.read(sorted(_looked_up(plan, [row])))})"
    return lookup_query(f"({plan.read(rows)})", earlier, part.features)


def _verdicts_on(plan: Plan, key: str) -> str:
    judged = f"{plan.rows}_verdicts JOIN {_keys(plan, key)} USING (key_id)"
    return f"({select([f'touched AS {key}', 'seen_us', 'replaced_us', 'is_fraud'], judged)})"


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _longest_span(parts: Iterable[Part]) -> timedelta:
    spans = [aggregate.span for part in parts for aggregate in part.aggregates.values()]
    return max(_span(span) for span in spans)


def _span(span: str) -> timedelta:
    return timedelta(microseconds=microseconds(span))
