"""The SQL of a micro-batch: each of its rows is joined with the earlier rows its windows see, and no others are read.

Only rows of the keys it touches, and only of the days it needs, are taken from the history. Where a
window stands on windows, those are computed over the history itself if it holds all that they see,
else in the same way, one step further back.
"""

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from features.declarations import LOOKBACK, PAST, Feature, microseconds
from features.known_fraud import LONGEST_WAIT
from features.sql.labels import few_labels_query, verdict_query
from features.sql.plan import Part, Plan, reach
from features.sql.rows import TRANSACTIONS, Step, Table, is_stored, moment, some_rows
from features.sql.windows import inputs, known, lookup_query, select

WORD = string.ascii_lowercase + string.digits + "_"
Touch = tuple[
    tuple[str, ...], tuple[str, ...]
]  # columns whose values a batch touches, and the columns of its past that hold them


def batch_tables(plan: Plan, since: datetime, columns: Sequence[str]) -> Iterator[Step]:
    """Write the tables of a plan's parts, for its rows, of which none stands before `since`."""
    pasts: dict[str, Plan] = {}
    for number, (touch, parts) in enumerate(_histories(plan, columns)):
        wanted = _wanted(plan, parts)
        past = Plan(plan.features.values(), rows=f"{plan.rows}_past_{number}", wanted=wanted)
        begin, whole = (
            since - _longest(feature.span for part in parts for feature in part.features),
            _is_whole(past, touch),
        )
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


def pair_query(asking: str, acting: str, features: Sequence[Feature]) -> str:
    """Write the query of features that share a key: each asking row is joined with the rows of its past."""
    key, of = features[0].key, features[0].of
    aggregates = {text: f"told_{number}" for number, text in enumerate(_aggregates(features))}
    read = [name for name in inputs(features) if name != "as_of_us"]
    longest = max(microseconds(feature.span) for feature in features)
    same = " AND ".join(
        f"asking.{ours} = acting.{theirs}" for ours, theirs in zip(key, of, strict=True)
    )
    seen = f"acting.as_of_us < asking.as_of_us AND acting.as_of_us >= asking.as_of_us - {longest}"
    joined = f"{asking} AS asking JOIN {acting} AS acting ON {same} AND {seen}"
    columns = [
        "asking.row_id AS asking_id",
        "asking.as_of_us AS asking_us",
        "acting.as_of_us AS as_of_us",
    ]
    pairs = select([*columns, *(f"acting.{name} AS {name}" for name in read)], joined)
    told = [
        f"{aggregate} FILTER (WHERE as_of_us >= asking_us - {microseconds(span)}) AS {name}"
        for (aggregate, span), name in aggregates.items()
    ]
    answered = f"{select(['asking_id', *told], f'({pairs}) AS pairs')} GROUP BY asking_id"
    joined = (
        f"{asking} AS asked LEFT JOIN ({answered}) AS answered ON asked.row_id = answered.asking_id"
    )
    return f"{select(['row_id', *(_told(feature, aggregates) for feature in features)], joined)} WHERE {known(key)}"


def _histories(plan: Plan, columns: Sequence[str]) -> Iterator[tuple[Touch, list[Part]]]:
    """The windows over rows by the history they share: all that know the account share its rows."""
    shared: dict[Touch, list[Part]] = {}
    for part in plan.parts:
        if not part.is_lookup and not part.is_of_labels:
            key, of = part.features[0].key, part.features[0].of
            pairs = [
                pair
                for pair in zip(key, of, strict=True)
                if all(is_stored(name, columns) for name in pair)
            ]
            pairs = [pair for pair in pairs if pair == ("account_id", "account_id")] or pairs
            touched = tuple(ours for ours, _ in pairs), tuple(theirs for _, theirs in pairs)
            shared.setdefault(touched, []).append(part)
    for touched, parts in shared.items():
        key, of = parts[0].features[0].key, parts[0].features[0].of
        if len(parts) == 1 and all(is_stored(name, columns) for name in (*key, *of)):
            yield (key, of), parts  # alone, it needs no row beside its very keys
        else:
            yield touched, parts


def _is_whole(past: Plan, touch: Touch) -> bool:
    """Whether all that the windows on a history's rows see are rows of that history: those with the same touched values."""
    pairs = set(zip(*touch, strict=True))
    same = all(ours == theirs for ours, theirs in pairs)
    keys = [set(zip(part.features[0].key, part.features[0].of, strict=True)) for part in past.parts]
    return (
        same
        and bool(pairs)
        and not any(part.is_lookup or part.is_of_labels for part in past.parts)
        and all(pairs <= key for key in keys)
    )


def _wanted(plan: Plan, parts: Iterable[Part]) -> list[str]:
    """What the windows of these parts read of their past, and what is looked up in the rows they find."""
    found = {feature.name for part in parts for feature in part.features}
    looked_up = {
        word for f in plan.features.values() if f.lookup in found for word in f.needs() - {f.lookup}
    }
    read = {name for part in parts for name in (*inputs(part.features), *part.features[0].of)}
    return sorted({*read, *looked_up})


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
    same = (
        [f"({', '.join(theirs)}) IN (SELECT {', '.join(touched)} FROM {plan.rows})"]  # noqa: S608
        if theirs
        else []
    )
    if all(one in columns for one in theirs):
        return some_rows(
            name, words, columns, where=[within, *given, *same[: len(given) > 1]], in_order=in_order
        )
    near = [_near(plan.rows, own) for own, one in zip(*touch, strict=True) if one == "ip_network"]
    where = [within, "ip_address IS NOT NULL", *given, *near]
    return some_rows(name, words, columns, where=where, among=same, in_order=in_order)


def _near(rows: str, own: str) -> str:
    """Of an address that may be of a row's network: the same stands before the last point, or it is none of version 4."""
    start, networks = (f"regexp_replace({name}, '[^.]*$', '')" for name in ("ip_address", own))
    return f"({start} IN (SELECT {networks} FROM {rows}) OR NOT regexp_matches(ip_address, '^[0-9.]*$'))"  # noqa: S608


def _verdicts(plan: Plan, since: datetime) -> Iterator[Step]:
    """The values of all keys whose fraud is asked for, numbered, and the verdicts on their transactions."""
    keys = sorted({part.features[0].key[0] for part in plan.parts if part.is_of_labels})
    if not keys:
        return
    values = [
        f"SELECT DISTINCT '{key}' AS kind, {key} AS touched FROM {plan.rows} WHERE {key} IS NOT NULL"  # noqa: S608
        for key in keys
    ]
    yield Table(
        name=f"{plan.rows}_keys",
        query=select(
            ["row_number() OVER () AS key_id", "kind", "touched"],
            f"({' UNION ALL '.join(values)}) AS found",
        ),
    )
    begin = moment(since - _longest([LOOKBACK]) - _longest([LONGEST_WAIT]))
    judged = [
        select(
            ["key_id", "transaction_id", "as_of_us"],
            f"{TRANSACTIONS} JOIN {_keys(plan, key)} ON {key} = touched WHERE as_of >= {begin}",
        )
        for key in keys
    ]
    verdicts = verdict_query(f"({' UNION ALL '.join(judged)})", by=("key_id", "transaction_id"))
    seen = f"({verdicts}) AS told WHERE seen_us > {_epoch_us(since)} - {microseconds(LOOKBACK)}"
    yield Table(
        name=f"{plan.rows}_verdicts",
        query=select(["key_id", "seen_us", "replaced_us", "is_fraud"], seen),
    )


def _keys(plan: Plan, kind: str) -> str:
    return f"(SELECT key_id, touched FROM {plan.rows}_keys WHERE kind = '{kind}') AS keys"  # noqa: S608


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _query(plan: Plan, part: Part, pasts: Mapping[str, Plan]) -> str:
    features = part.features
    if part.is_lookup:
        rows = sorted({feature.lookup for feature in features})
        words = {
            row: {word for f in features if f.lookup == row for word in f.needs() - {row}}
            for row in rows
        }
        earlier = {row: f"({pasts[plan.home(row).table].read(sorted(words[row]))})" for row in rows}
        return lookup_query(f"({plan.read(rows)})", earlier, features)
    key, of = features[0].key, features[0].of
    asking = f"({plan.read([*key, 'as_of_us'])})"
    if part.is_of_labels:
        judged = f"{plan.rows}_verdicts JOIN {_keys(plan, key[0])} USING (key_id)"
        return few_labels_query(
            asking,
            features,
            f"({select([f'touched AS {key[0]}', 'seen_us', 'replaced_us', 'is_fraud'], judged)})",
        )
    return pair_query(
        asking, f"({pasts[part.table].read([*of, 'as_of_us', *inputs(features)])})", features
    )


def _aggregates(features: Iterable[Feature]) -> list[tuple[str, str]]:
    """The aggregates before each `OVER past`, with the span they run over."""
    return list(dict.fromkeys((text, f.span) for f in features for text in _split(f.sql)[1::2]))


def _told(feature: Feature, names: Mapping[tuple[str, str], str]) -> str:
    """The feature's SQL with the answers in place of its aggregates; a count of nothing is 0."""
    parts = _split(feature.sql)
    for place in range(1, len(parts), 2):
        name = names[parts[place], feature.span]
        parts[place] = f"coalesce({name}, 0)" if parts[place].startswith("count(") else name
    return f"{''.join(parts)} AS {feature.name}"


def _split(sql: str) -> list[str]:
    """Split SQL at its aggregates over the past: what lies between them stands at even places, they at odd ones.

    >>> _split("(as_of_us - max(as_of_us) OVER past) / 1000000.0")
    ['(as_of_us - ', 'max(as_of_us)', ') / 1000000.0']
    """
    *before, after = sql.split(f" {PAST}")
    parts: list[str] = []
    for text in before:
        start = _start_of_call(text)
        parts += [text[:start], text[start:]]
    return [*parts, after]


def _start_of_call(text: str) -> int:
    """Where the function call begins that the text ends with."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth == 0:
            return len(text[:place].rstrip(WORD))
    raise ValueError(f"{text!r} ends with no function call; write an aggregate before {PAST}")


def _longest(spans: Iterable[str]) -> timedelta:
    return timedelta(microseconds=max(microseconds(span) for span in spans))
