"""The page of all features, docs/features.md, written from their declarations.

python -m features.docs.page > docs/features.md
"""

import sys
from collections.abc import Iterable, Iterator

from features.declarations import LOOKBACK, Aggregate, Feature, Group, microseconds
from features.groups.catalogue import ALWAYS, DERIVED, GROUPS
from features.groups.declared import SPANS, Key, key_group
from features.ip.addresses import FACT_NAMES
from features.known_fraud import LONGEST_WAIT
from features.schema import BY_NAME

HEAD = f"""# Features

What is known of a payment at the moment it is judged: {{features}} features in {{groups}} groups,
each group one stage of the network. This page is written from the declarations in `features/` by
`make docs`; a test says when it is stale.

**The future never changes the past.** A feature uses only payments whose as_of is earlier than its
own payment's and labels that were known by then. Payments of the same microsecond do not see each
other.

![What a window sees: payments of its span, late ones at arrival, labels once known](window.svg)

How to read the tables:

- **window**: the span and the key whose past is read. 30d of `merchant_id`: the payments at the
  same retailer, from 30 days before the payment's as_of to one microsecond before it.
  `account_id + merchant_id`: those of the same account at the same retailer.
  `counterparty_id as account_id`: what the receiver did as an account. Labels of `merchant_id`:
  what became known in the span of payments at the retailer. *Over* stand the windows that the
  feature is made of. A dash: no past is read.
- No window is longer than {LOOKBACK}, and a label that comes more than {LONGEST_WAIT} after its
  payment counts for nothing.
- **null means**: null is a fact, too, and every model is told of it. Key unknown: a column of the
  key is empty.
- **kind**: a number, a flag (1 yes, 0 no) or a category. A number without a unit is a count, or has
  none.
- A portfolio has the groups whose columns it maps. A feature that uses a column more is left out
  without it; only the counts of new values go on with what is there.
"""
OWN_KEYS = f"""
## Keys of a portfolio's own

A key that a portfolio declares in `[keys]` brings a group of its name with these features, here of
a key `email` whose meaning is "e-mail domain", over spans of {", ".join(SPANS)}. Other spans are
said there, too. They are computed, explained and fingerprinted like those above.

"""
OWN = """
## A portfolio's own columns and features

A column declared in `[groups.extra]`, or one that a pattern there takes, joins the group it names
as `own_<column>`, a number or a category; null means that it is missing in the source. A feature
declared in `[features]` joins its group under its own name.
"""
CELLS = ("feature", "meaning", "unit", "window", "null means", "kind")
EMAIL = key_group("email", Key(column="email", meaning="e-mail domain"))
DECLARED = {
    feature.name: feature for group in (*GROUPS.values(), EMAIL) for feature in group.features
}


def page() -> str:
    """Return the text of docs/features.md: every feature that a model sees, group by group."""
    sections = [_section(number, group) for number, group in enumerate(GROUPS.values(), start=1)]
    features = sum(one.shown for group in GROUPS.values() for one in group.features)
    head = HEAD.format(features=features, groups=len(GROUPS))
    return "".join([head, *sections, OWN_KEYS, _table(EMAIL.features), OWN])


def window(feature: Feature) -> str:
    """Say which windows a feature reads: its own, over those it is made of.

    >>> window(DECLARED["amount_high_14d"])
    '14d of `account_id` over 90d of `account_id`'
    """
    own = _spans([feature])
    below = [span for span in _spans(_below(feature)) if span not in own]
    return " over ".join(filter(None, [*own, ", ".join(below)])) or "–"


def columns(feature: Feature) -> set[str]:
    """The columns of a transaction that a feature and those it stands on are made of.

    >>> sorted(columns(DECLARED["account_age_days"]))
    ['account_opened_at', 'as_of']
    """
    words = {word for one in (feature, *_below(feature)) for word in one.needs()}
    return {"ip_address" if word in FACT_NAMES else DERIVED.get(word, word) for word in words} & {
        *BY_NAME,
        *DERIVED.values(),
    }


def _section(number: int, group: Group) -> str:
    shown = [feature for feature in group.features if feature.shown]
    used = set[str]().union(*map(columns, shown)) - {*group.needs, *ALWAYS}
    more = (
        f" Uses, where mapped: {_names(name for name in BY_NAME if name in used)}." if used else ""
    )
    meaning = f"{group.meaning[:1].upper()}{group.meaning[1:]}."
    return "\n".join(
        [
            f"\n## {number}. {group.name}\n",
            f"{meaning} Needs {_names(group.needs)}.{more}\n",
            _table(shown),
        ]
    )


def _table(features: Iterable[Feature]) -> str:
    """The table of those features that a model sees."""
    rows = [_row(_cells(feature)) for feature in features if feature.shown]
    return "\n".join([_row(CELLS), _row(["---"] * len(CELLS)), *rows, ""])


def _cells(feature: Feature) -> list[str]:
    return [
        f"`{feature.name}`",
        feature.meaning,
        feature.unit,
        window(feature),
        feature.null,
        feature.kind,
    ]


def _below(feature: Feature) -> Iterator[Feature]:
    """All features that a feature stands on, each once."""
    seen, left = {feature.name}, [feature]
    while left:
        names = sorted(name for name in left.pop().needs() if name in DECLARED and name not in seen)
        seen.update(names)
        left += [DECLARED[name] for name in names]
        yield from (DECLARED[name] for name in names)


def _spans(features: Iterable[Feature]) -> list[str]:
    """The windows of features, the shortest first, a span's keys together."""
    keys: dict[str, set[str]] = {}
    for feature in features:
        if feature.aggregate:
            keys.setdefault(feature.aggregate.span, set()).add(_key(feature.aggregate))
    return [f"{span} of {', '.join(sorted(keys[span]))}" for span in sorted(keys, key=microseconds)]


def _key(over: Aggregate) -> str:
    key, as_key = " + ".join(over.key), " + ".join(over.as_key)
    whose = f"`{key}`" if as_key == key else f"`{key} as {as_key}`"
    return f"labels of {whose}" if over.stream == "labels" else whose


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
