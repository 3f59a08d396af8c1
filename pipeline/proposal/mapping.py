"""Which column of theirs is which of ours: by how it is called, where what it holds allows it.

What is required and is called like nothing known is looked for by its content alone.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.proposal.forms import find_time
from pipeline.proposal.profile import Column, Profile
from pipeline.proposal.words import (
    FRAUD,
    KEYS,
    LEGITIMATE,
    NAMES,
    UNLABELLED,
    find_alike,
    likeness,
    listed,
    words_of,
)

MIN_LIKENESS = 30
MIN_KEY_VALUES = 10
MAX_LABELS, MAX_CHANNELS = 8, 60
# who is paid: a retailer where few are paid by many, else a person
PAID = ("empfanger", "empfaenger", "payee", "target", "receiver", "recipient", "beneficiary", "to")
TIMES = ("event_time", "known_at", "label_known_at", "account_opened_at", "social_event_at")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Columns without a meaning of their own, such as V1 to V339, and their names' pattern."""

    name: str
    pattern: str
    columns: tuple[Column, ...]


@dataclass(kw_only=True)
class Mapping:
    """Ours with the column of theirs that it is; `guessed` are those found by content alone.

    `composite` are columns that stand for the account together, where none does.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    guessed: list[str] = field(default_factory=list)
    series: tuple[Series, ...] = ()
    composite: tuple[Column, ...] = ()

    def taken(self) -> set[str]:
        """Names of theirs that have a meaning."""
        return {column.name for column in self.columns.values()}


def find_mapping(profile: Profile, parts: dict[str, Column]) -> Mapping:
    """Map what can be: each of ours once, each of theirs once, the likeliest first.

    `parts` are the columns of which a date is put together.
    """
    series = tuple(find_series(profile, profile.sheet.names))
    in_series = {column.name for one in series for column in one.columns}
    passed = in_series | {column.name for column in parts.values()}
    free = [column for column in profile.columns if column.name and column.name not in passed]
    mapping = Mapping(series=series)
    offers = sorted(_offers(free, profile), key=lambda offer: -offer[0])
    for _, ours, column in offers:
        is_free = ours not in mapping.columns and column.name not in mapping.taken()
        if is_free and not (parts and ours == "event_time"):
            mapping.columns[ours] = column
    _tell_receivers_apart(mapping, profile)
    for ours in ("event_time", "transaction_id", "amount", "account_id"):
        if ours not in mapping.columns and not (parts and ours == "event_time"):
            _guess(ours, free, mapping, profile)
    order = [ours for ours in NAMES if ours in mapping.columns]
    mapping.columns = {ours: mapping.columns[ours] for ours in order}
    return mapping


def _offers(free: Sequence[Column], profile: Profile) -> Iterable[tuple[float, str, Column]]:
    """How likely each column is each of ours; nothing where what it holds forbids it."""
    for ours, (telling, weak) in NAMES.items():
        for column in free:
            strong = likeness(column.name, listed(telling))
            score = max(strong, 0.5 * likeness(column.name, listed(weak)))
            if "".join(words_of(column.name)) == ours.replace("_", ""):
                score = 110
            if score >= MIN_LIKENESS and fits(ours, column, profile):
                yield score, ours, column


def fits(ours: str, column: Column, profile: Profile) -> bool:
    """Whether a column's values may be what one of ours holds."""
    if not column.count:
        return False
    check = CHECKS.get(ours)
    return check(column, profile) if check else _is_name(column, profile)


def _is_unique(column: Column, profile: Profile) -> bool:
    is_whole = not column.is_number or column.is_mostly("whole")
    no_time = not column.is_time and not column.is_mostly("iso")
    return is_whole and no_time and column.distinct == column.count == profile.rows


def _is_name(column: Column, profile: Profile) -> bool:
    """Whether it can name somebody: text or whole numbers that are neither times nor money."""
    is_whole = not column.is_number or column.is_mostly("whole")
    is_time = column.is_time or column.is_mostly("iso") or column.is_mostly("clock")
    return is_whole and not is_time and column.kind != "BOOLEAN"


def _is_account(column: Column, profile: Profile) -> bool:
    is_flag = column.distinct <= 2 and profile.rows > 20
    return _is_name(column, profile) and not is_flag and column.count > 0.05 * profile.rows


def _is_money(column: Column, profile: Profile) -> bool:
    is_one = column.is_mostly("money", 0.9) or column.is_mostly("number", 0.9)
    return is_one and not column.is_time and not column.is_mostly("email")


def _is_moment(column: Column, profile: Profile) -> bool:
    return find_time(profile, column) is not None


def _is_date(column: Column, profile: Profile) -> bool:
    """A time that says itself which one it is, which a number since some start does not."""
    found = find_time(profile, column)
    return found is not None and found.kind != "offset"


def _is_label(column: Column, profile: Profile) -> bool:
    if column.distinct > MAX_LABELS:
        return False
    known = {*FRAUD.split(), *LEGITIMATE.split(), *UNLABELLED.split()}
    values = [value.strip().lower().replace(" ", "_") for value in profile.values(column)]
    return sum(value in known for value in values) >= min(2, len(values))


def _is_flag(column: Column, profile: Profile) -> bool:
    return column.distinct <= 2 and _is_label(column, profile)


def _is_channel(column: Column, profile: Profile) -> bool:
    return column.distinct <= MAX_CHANNELS and column.is_mostly("letters", 0.5)


def _within(least: float, most: float) -> Callable[[Column, Profile], bool]:
    def check(column: Column, profile: Profile) -> bool:
        value = f"TRY_CAST(replace({column.sql}, ',', '.') AS DOUBLE)"
        lies = f"coalesce(bool_and({value} BETWEEN {least} AND {most}), false)"
        return column.is_mostly("number") and bool(profile.ask(lies, given="few")[0])

    return check


def _mostly(form: str) -> Callable[[Column, Profile], bool]:
    return lambda column, profile: column.is_mostly(form, 0.9)


CHECKS: dict[str, Callable[[Column, Profile], bool]] = {
    "transaction_id": _is_unique,
    "event_time": _is_moment,
    "account_id": _is_account,
    "amount": _is_money,
    "currency": _mostly("currency"),
    "is_fraud": _is_label,
    "merchant_category": _mostly("mcc"),
    "country": _mostly("country"),
    "merchant_country": _mostly("country"),
    "ip_address": _mostly("ip"),
    "latitude": _within(-90, 90),
    "merchant_latitude": _within(-90, 90),
    "longitude": _within(-180, 180),
    "merchant_longitude": _within(-180, 180),
    "credit_score": _within(0, 1000),
    "channel": _is_channel,
    "declined": _is_flag,
    **dict.fromkeys(TIMES[1:], _is_date),
}


def _tell_receivers_apart(mapping: Mapping, profile: Profile) -> None:
    """A receiver whom many accounts pay is a retailer, not somebody's counterparty."""
    for paid, other in (("counterparty_id", "merchant_id"), ("merchant_id", "counterparty_id")):
        column = mapping.columns.get(paid)
        if column is None or other in mapping.columns or not _is_any_receiver(column):
            continue
        is_retailer = column.distinct <= 0.1 * profile.rows
        if is_retailer == (other == "merchant_id"):
            mapping.columns[other] = mapping.columns.pop(paid)


def _is_any_receiver(column: Column) -> bool:
    return bool({*words_of(column.name)} & {*PAID})


def _guess(ours: str, free: Sequence[Column], mapping: Mapping, profile: Profile) -> None:
    """Look for what is required by its content alone."""
    left = [column for column in free if column.name not in mapping.taken() and column.count]
    found: list[Column] = []
    if ours == "event_time":
        found = [
            column for column in left if _is_date(column, profile) and _looks_like_time(column)
        ]
    elif ours == "amount":
        found = [
            column
            for column in left
            if column.is_mostly("decimals", 0.5) and _is_money(column, profile)
        ]
        found = found if len(found) == 1 else []  # several numbers: which is money nobody can say
    elif ours == "transaction_id":
        found = [column for column in left if _is_unique(column, profile) and _is_id(column)]
    elif ours == "account_id" and _has_no_names(profile):
        repeated = [
            column
            for column in left
            if _is_account(column, profile) and 1 < column.distinct < 0.8 * profile.rows
        ]
        found = sorted(repeated, key=lambda column: -column.distinct)
    if found:
        mapping.columns[ours] = found[0]
        mapping.guessed.append(ours)


def _has_no_names(profile: Profile) -> bool:
    return all(re.fullmatch("column[0-9]+", column.name) for column in profile.columns)


def _looks_like_time(column: Column) -> bool:
    return column.is_time or column.is_mostly("iso") or column.is_mostly("dated")


def _is_id(column: Column) -> bool:
    words = {*words_of(column.name)}
    says_so = words & {"id", "nr", "no", "num", "number", "ref", "key", "uuid", "hash", "code"}
    return bool(says_so) or column.name.startswith("column")


def find_series(profile: Profile, names_in_all: Sequence[str]) -> Iterable[Series]:
    """Columns that are called alike but for a number, by patterns that no other name fits.

    A pattern has * and ?, and capitals do not count in it: where `C*` would take `card` in, those
    of one digit and those of two stand apart.
    """
    for start, alike in find_alike(profile.sheet.names).items():
        members = [profile.by_name[name] for name in alike]
        others = [name.lower() for name in names_in_all if name not in alike]
        name = "_".join(words_of(start)) or "column"
        if not fnmatch.filter(others, f"{_plain(start).lower()}*"):
            yield Series(name=name, pattern=f"{_plain(start)}*", columns=tuple(members))
            continue
        for digits in sorted({len(one) - len(start) for one in alike}):
            chosen = [one for one in members if len(one.name) - len(start) == digits]
            pattern = f"{_plain(start)}{'?' * digits}"
            if not fnmatch.filter(others, pattern.lower()):
                yield Series(name=f"{name}_{digits}", pattern=pattern, columns=tuple(chosen))


def _plain(start: str) -> str:
    """A name's start as a pattern has it: a sign that is none of its letters stands for itself."""
    return re.sub(r"[*?\[]", "?", start)


def find_keys(profile: Profile, mapping: Mapping) -> dict[str, tuple[Column, str]]:
    """Columns none of ours by whose values a history can be kept, with what they are."""
    in_series = {column.name for one in mapping.series for column in one.columns}
    passed = mapping.taken() | in_series
    found: dict[str, tuple[Column, str]] = {}
    for name, (telling, meaning) in KEYS.items():
        for column in profile.columns:
            is_free = column.name not in passed and column.name
            is_called = likeness(column.name, listed(telling)) >= 55
            if name == "email":
                is_called = is_called or column.is_mostly("email", 0.9)
            if is_free and is_called and _repeats(column, profile):
                own = name if name not in found else "_".join(words_of(column.name))
                found.setdefault(own, (column, meaning))
                passed.add(column.name)
    return found


def _repeats(column: Column, profile: Profile) -> bool:
    many = column.distinct >= min(MIN_KEY_VALUES, max(2, profile.rows // 5))
    return many and column.distinct < 0.95 * column.count and not column.is_time


def unmapped(profile: Profile, mapping: Mapping, parts: dict[str, Column]) -> list[str]:
    """Names of the columns that nothing is made of."""
    used = mapping.taken() | {column.name for column in (*parts.values(), *mapping.composite)}
    used |= {column.name for one in mapping.series for column in one.columns}
    used |= {column.name for column, _ in find_keys(profile, mapping).values()}
    return [column.name for column in profile.columns if column.name and column.name not in used]
