"""The SQL of a micro-batch: each of its rows is joined with the earlier rows its windows see, and no others are read.

Only rows of the keys it touches, and only of the days it needs, are taken from the history. Where a window stands on windows,
those are computed for the rows it sees in the same way, one step further back.
"""

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from features.frames import inputs, known, lookup_query, select
from features.plan import Part, Plan
from features.risk import LONGEST_WAIT, few_labels_query, verdict_query
from features.rows import TRANSACTIONS, Step, Table, is_stored, moment, some_rows
from features.windows import LOOKBACK, PAST, Feature, microseconds

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
        begin = since - _longest(feature.span for part in parts for feature in part.features)
        yield from _history_rows(plan, touch, past.rows, {*past.words, *wanted}, begin, columns)
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
    same = " AND ".join(f"asking.{ours} = acting.{theirs}" for ours, theirs in zip(key, of, strict=True))
    seen = f"acting.as_of_us < asking.as_of_us AND acting.as_of_us >= asking.as_of_us - {longest}"
    joined = f"{asking} AS asking JOIN {acting} AS acting ON {same} AND {seen}"
    columns = ["asking.row_id AS asking_id", "asking.as_of_us AS asking_us", "acting.as_of_us AS as_of_us"]
    pairs = select([*columns, *(f"acting.{name} AS {name}" for name in read)], joined)
    told = [
        f"{aggregate} FILTER (WHERE as_of_us >= asking_us - {microseconds(span)}) AS {name}"
        for (aggregate, span), name in aggregates.items()
    ]
    answered = f"{select(['asking_id', *told], f'({pairs}) AS pairs')} GROUP BY asking_id"
    joined = f"{asking} AS asked LEFT JOIN ({answered}) AS answered ON asked.row_id = answered.asking_id"
    return f"{select(['row_id', *(_told(feature, aggregates) for feature in features)], joined)} WHERE {known(key)}"


def _histories(plan: Plan, columns: Sequence[str]) -> Iterator[tuple[Touch, list[Part]]]:
    """The windows over rows by the history they share: all that stand on columns of the account's rows share these."""
    shared: dict[tuple[Touch, bool], list[Part]] = {}
    for part in plan.parts:
        if not part.is_lookup and not part.is_of_labels:
            key, of = part.features[0].key, part.features[0].of
            pairs = [pair for pair in zip(key, of, strict=True) if all(is_stored(name, columns) for name in pair)]
            account = [pair for pair in pairs if pair == ("account_id", "account_id")]
            touched = tuple(ours for ours, _ in account or pairs), tuple(theirs for _, theirs in account or pairs)
            deep = any(plan.depths.get(name, 0) for name in (*inputs(part.features), *of))
            shared.setdefault((touched, deep), []).append(part)
    for (touched, _), parts in shared.items():
        key, of = parts[0].features[0].key, parts[0].features[0].of
        if len(parts) == 1 and all(is_stored(name, columns) for name in (*key, *of)):
            yield (key, of), parts  # alone, it needs no row beside its very keys
        else:
            yield touched, parts


def _wanted(plan: Plan, parts: Iterable[Part]) -> list[str]:
    """What the windows of these parts read of their past, and what is looked up in the rows they find."""
    found = {feature.name for part in parts for feature in part.features}
    looked_up = {word for f in plan.features.values() if f.lookup in found for word in f.needs() - {f.lookup}}
    read = {name for part in parts for name in (*inputs(part.features), *part.features[0].of)}
    return sorted({*read, *looked_up})


def _history_rows(plan: Plan, touch: Touch, name: str, words: set[str], begin: datetime, columns: Sequence[str]) -> list[Step]:
    """The rows that the windows see; in order only where one of them is to be the last."""
    touched, theirs = touch
    within, in_order = f"as_of >= {moment(begin)}", "row_id" in words
    same = [f"({', '.join(theirs)}) IN (SELECT {', '.join(touched)} FROM {plan.rows})"] if theirs else []  # noqa: S608
    if all(one in columns for one in theirs):
        return some_rows(name, words, columns, where=[within, *same], in_order=in_order)
    given = [f"{one} IN (SELECT {own} FROM {plan.rows})" for own, one in zip(*touch, strict=True) if one in columns]  # noqa: S608
    where = [within, "ip_address IS NOT NULL", *given]
    return some_rows(name, words, columns, where=where, among=same, in_order=in_order)


def _verdicts(plan: Plan, since: datetime) -> Iterator[Step]:
    """The transactions of all keys whose fraud is asked for, in no order, and what the ledger says of them."""
    keys = sorted({part.features[0].key[0] for part in plan.parts if part.is_of_labels})
    if keys:
        touched = " OR ".join(f"{key} IN (SELECT {key} FROM {plan.rows} WHERE {key} IS NOT NULL)" for key in keys)  # noqa: S608
        begin = since - _longest([LOOKBACK]) - _longest([LONGEST_WAIT])
        read = ["row_number() OVER () AS row_id", "transaction_id", "as_of_us", *keys]
        judged = f"{TRANSACTIONS} WHERE as_of >= {moment(begin)} AND ({touched})"
        yield Table(name=f"{plan.rows}_judged", query=select(read, judged))
        yield Table(name=f"{plan.rows}_verdicts", query=verdict_query(f"{plan.rows}_judged"))


def _query(plan: Plan, part: Part, pasts: Mapping[str, Plan]) -> str:
    features = part.features
    if part.is_lookup:
        rows = sorted({feature.lookup for feature in features})
        words = {row: {word for f in features if f.lookup == row for word in f.needs() - {row}} for row in rows}
        earlier = {row: f"({pasts[plan.home(row).table].read(sorted(words[row]))})" for row in rows}
        return lookup_query(f"({plan.read(rows)})", earlier, features)
    key, of = features[0].key, features[0].of
    asking = f"({plan.read([*key, 'as_of_us'])})"
    if part.is_of_labels:
        judged = f"{plan.rows}_verdicts JOIN {plan.rows}_judged USING (row_id)"
        return few_labels_query(asking, features, f"({select([key[0], 'seen_us', 'replaced_us', 'is_fraud'], judged)})")
    return pair_query(asking, f"({pasts[part.table].read([*of, 'as_of_us', *inputs(features)])})", features)


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
