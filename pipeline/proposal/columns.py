"""The lines of [columns]: each of ours with the column of theirs, or the SQL that computes it."""

from dataclasses import dataclass

from features.schema import REQUIRED
from pipeline.checks.coercion import NO_DECIMALS
from pipeline.checks.theirs import INTEGER, NUMBER
from pipeline.proposal.draft import Doubt, Draft, named
from pipeline.proposal.forms import (
    START,
    STEPS,
    MoneyForm,
    TimeForm,
    amount_expression,
    find_clock,
    find_money,
    find_time,
)
from pipeline.proposal.mapping import TIMES, Mapping, find_mapping, fits
from pipeline.proposal.profile import Column, Profile
from pipeline.proposal.words import (
    DECLINED,
    NAMES,
    NO_PAYMENT,
    likeness,
    listed,
    words_of,
)
from pipeline.sources.card_numbers import masked
from pipeline.sources.delivery import literal

MAX_TYPES = 40


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the lines of other tables need of the columns: the moment, the money, where."""

    moment: str = ""  # SQL over `sheet`
    time_format: str = ""
    is_local: bool = False
    time_rows: tuple[Column, ...] = ()
    money: MoneyForm | None = None
    where: tuple[tuple[str, Doubt], ...] = ()


def put_columns(
    draft: Draft, profile: Profile, mapping: Mapping, parts: dict[str, Column]
) -> Facts:
    """Write [columns]; returns what the other tables are to say of them."""
    if "transaction_id" in mapping.columns:
        draft.put("columns", "transaction_id", mapping.columns["transaction_id"].name)
    time = _put_time(draft, profile, mapping, parts)
    _put_account(draft, profile, mapping)
    money, spent = _put_amount(draft, profile, mapping)
    for ours, column in mapping.columns.items():
        if ours not in ("transaction_id", "event_time", "account_id", "amount", "is_fraud"):
            _put_optional(draft, profile, ours, column, time.time_format)
    if "declined" not in mapping.columns:
        _put_declined(draft, profile, mapping)
    if "is_fraud" in mapping.columns:
        draft.put("columns", "is_fraud", mapping.columns["is_fraud"].name)
    where = (*spent, *_no_payments(profile, mapping))
    return Facts(**{**vars(time), "money": money, "where": where})


def put_joined(draft: Draft, profile: Profile, mapping: Mapping, time_format: str) -> None:
    """What a joined table tells of a payment beside its own columns."""
    told = find_mapping(profile, {})
    for ours, column in told.columns.items():
        is_own = ours in REQUIRED or ours in ("is_fraud", "label_known_at", "known_at")
        if not is_own and ours not in mapping.columns:
            _put_optional(draft, profile, ours, column, time_format)


def _guessed(profile: Profile, mapping: Mapping, ours: str) -> list[Doubt]:
    """The doubt about a column that is called like nothing known."""
    if ours not in mapping.guessed:
        return []
    column = mapping.columns[ours]
    says = f"{column.name!r} is taken to be {ours} by what it holds alone, not by its name."
    return [Doubt(about=ours, says=says, rows=profile.rows_of([column]))]


def _put_time(draft: Draft, profile: Profile, mapping: Mapping, parts: dict[str, Column]) -> Facts:
    if parts:
        return _put_parts(draft, profile, parts)
    column = mapping.columns.get("event_time")
    if column is None:
        says = (
            "no column holds times that Strata can read; write the one that says when a payment "
            'happened, or SQL such as "make_timestamp(year, month, day, 0, 0, 0)".'
        )
        draft.ask("columns", "event_time", says, _first_rows(profile))
        return Facts()
    form = find_time(profile, column)
    if form is None:
        raise ValueError(f"{column.name} is mapped to event_time and holds no times")
    doubts = _guessed(profile, mapping, "event_time")
    doubts += _time_doubts(profile, column, form)
    clock = find_clock(profile) if form.is_date else {}
    if clock:
        return _put_date_and_clock(draft, profile, column, clock["clock"], form, doubts)
    is_local = not form.has_offset and form.kind != "offset"
    if form.kind == "offset":
        value = f"TIMESTAMP '{START} 00:00:00' + {STEPS[form.unit]}({named(column.name)})"
        draft.put("columns", "event_time", value, *doubts)
        return Facts(moment=form.sql, time_rows=(column,))
    said = column.name
    if form.kind == "pattern" and column.kind != "VARCHAR":
        said = f"{named(column.name)}::VARCHAR"
    draft.put("columns", "event_time", said, *doubts)
    return Facts(moment=form.sql, time_format=form.pattern, is_local=is_local, time_rows=(column,))


def _time_doubts(profile: Profile, column: Column, form: TimeForm) -> list[Doubt]:
    rows = profile.rows_of([column], f"{column.sql} IS NOT NULL")
    if form.kind == "offset":
        says = (
            f"{column.name!r} counts from a start that the file does not say; {START} is invented, "
            f"and that it counts {form.unit} is a guess. Write the true start: hours, weekdays and "
            "the payments' order in time come from it."
        )
        return [Doubt(about="event_time", says=says, rows=rows)]
    if form.swapped:
        says = (
            f"{column.name!r} can be read as {form.pattern} and as {form.swapped}; the first is "
            "taken. Write the other one in time_format where it is right."
        )
        return [Doubt(about="time_format", says=says, rows=rows)]
    if form.is_date and not find_clock(profile):
        says = f"{column.name!r} has no time of day: all payments of a day stand at its midnight."
        return [Doubt(about="event_time", says=says, rows=rows)]
    return []


def _put_parts(draft: Draft, profile: Profile, parts: dict[str, Column]) -> Facts:
    names = {part: named(column.name) for part, column in parts.items()}
    clock = names.get("clock")
    hour = f"hour({clock}::TIME)" if clock else names.get("hour", "0")
    minute = f"minute({clock}::TIME)" if clock else names.get("minute", "0")
    second = f"second({clock}::TIME)" if clock else names.get("second", "0")
    day = f"{names['year']}, {names['month']}, {names['day']}"
    said = f"make_timestamp({day}, {hour}, {minute}, {second})"
    columns = list(parts.values())
    says = "the time is put together from these columns."
    doubt = Doubt(about="event_time", says=says, rows=profile.rows_of(columns))
    draft.put("columns", "event_time", said, doubt)
    whole = {part: f"TRY_CAST({parts[part].sql} AS BIGINT)" for part in ("year", "month", "day")}
    in_sheet = f"make_timestamp({whole['year']}, {whole['month']}, {whole['day']}, 0, 0, 0)"
    return Facts(
        moment=f"CAST(TRY({in_sheet}) AS TIMESTAMPTZ)", is_local=True, time_rows=tuple(columns)
    )


def _put_date_and_clock(
    draft: Draft,
    profile: Profile,
    column: Column,
    clock: Column,
    form: TimeForm,
    doubts: list[Doubt],
) -> Facts:
    """A day in one column and the time of day in another."""
    said = f"{named(column.name)}::VARCHAR || ' ' || {named(clock.name)}::VARCHAR"
    rows = profile.rows_of([column, clock])
    says = "day and time of day stand in two columns, and are put together."
    has_seconds = any(value.count(":") == 2 for value in profile.values(clock))
    pattern = form.pattern + (" %H:%M:%S" if has_seconds else " %H:%M") if form.pattern else ""
    draft.put(
        "columns", "event_time", said, *doubts, Doubt(about="event_time", says=says, rows=rows)
    )
    return Facts(moment=form.sql, time_format=pattern, is_local=True, time_rows=(column, clock))


def _first_rows(profile: Profile) -> tuple[str, ...]:
    return profile.rows_of([column for column in profile.columns if column.name][:6])


def _put_account(draft: Draft, profile: Profile, mapping: Mapping) -> None:
    column = mapping.columns.get("account_id")
    if column is None:
        _put_composite(draft, profile, mapping)
        return
    doubts = _guessed(profile, mapping, "account_id")
    said = column.name
    absent = profile.count(f"{column.sql} IS NULL")
    if absent:
        other = _stand_in(profile, mapping, column)
        rows = profile.rows_of([column, *other], f"{column.sql} IS NULL")
        says = f"{absent:,} of {profile.rows:,} rows have no {column.name!r}"
        if other:
            said = f"coalesce({named(column.name)}, {named(other[0].name)})"
            says += f"; {other[0].name!r} stands in for it there."
        else:
            says += ", and nothing else says who paid: they would go to quarantine."
        doubts.append(Doubt(about="account_id", says=says, rows=rows))
    elif profile.rows >= 50 and column.distinct >= 0.9 * profile.rows:
        says = (
            f"nearly every row has a {column.name!r} of its own, so it may name a payment rather "
            "than who pays; histories of accounts need one that comes again."
        )
        doubts.append(Doubt(about="account_id", says=says, rows=profile.rows_of([column])))
    values = profile.values(column)
    cards = [value for value in values if masked(value) != value]
    if 2 * len(cards) > len(values):
        says = (
            f"{column.name!r} looks like real card numbers, which a lake should not hold: write "
            f"\"sha256('a secret of yours' || {named(column.name)})\", or, where they are tokens, "
            f'tokens = ["{column.name}"] in [source].'
        )
        doubts.append(Doubt(about="account_id", says=says, rows=profile.rows_of([column])))
    draft.put("columns", "account_id", said, *doubts)


def _stand_in(profile: Profile, mapping: Mapping, column: Column) -> list[Column]:
    """A column that says who pays where the account's does not: an e-mail, a card."""
    is_empty = f"{column.sql} IS NULL"
    passed = mapping.taken()
    telling = {"email", "mail", "emaildomain", "card", "pan", "iban", "phone", "customer", "user"}
    found = [
        one
        for one in profile.columns
        if one.name not in passed and {*words_of(one.name)} & telling and one.distinct > 1
    ]
    return [one for one in found if profile.count(f"{is_empty} AND {one.sql} IS NOT NULL")][:1]


def _put_composite(draft: Draft, profile: Profile, mapping: Mapping) -> None:
    """Where no column says who pays: several of the card's and the address together."""
    passed = mapping.taken()
    by_words = {column.name: {*words_of(column.name)} for column in profile.columns}
    telling = {f"card{number}" for number in range(1, 10)} | {"addr1", "bin", "last4"}
    parts = [
        column
        for column in profile.columns
        if by_words[column.name] & telling and column.distinct > 1 and column.name not in passed
    ]
    if len(parts) < 2:
        says = (
            "no column says who pays (an account, a customer, a card); write the one that does, or "
            "SQL that puts several together, such as \"concat_ws('-', bin, zip)\"."
        )
        draft.ask("columns", "account_id", says, _first_rows(profile))
        return
    mapping.composite = tuple(parts)
    said = f"concat_ws('-', {', '.join(named(part.name) for part in parts)})"
    says = (
        "no column says who pays, so these together stand for it: people who share them are taken "
        "for one. Write a better one where you have it."
    )
    rows = profile.rows_of(parts[:6])
    draft.put("columns", "account_id", said, Doubt(about="account_id", says=says, rows=rows))


def _put_amount(
    draft: Draft, profile: Profile, mapping: Mapping
) -> tuple[MoneyForm | None, tuple[tuple[str, Doubt], ...]]:
    """Write the amount; returns how it is written, and which rows its sign leaves out."""
    column = mapping.columns.get("amount")
    if column is None:
        says = "no one column holds money; write the one that says how much was paid."
        draft.ask("columns", "amount", says, _first_rows(profile))
        return None, ()
    currency = mapping.columns.get("currency")
    codes = {code.upper() for code in profile.values(currency)} if currency else set()
    without_decimals = bool(codes) and codes <= {*NO_DECIMALS.split()}
    form = find_money(profile, column, without_decimals=without_decimals)
    is_text = column.kind == "VARCHAR"
    name = named(column.name)
    is_spent_negative = form.negatives > form.others
    said = amount_expression(
        name,
        form,
        is_text=not _is_number_in_sql(profile, column),
        is_spent_negative=is_spent_negative,
    )
    doubts = [*_guessed(profile, mapping, "amount"), *_other_money(profile, mapping, column)]
    if len(form.signs) > 1:
        says = f"the amounts have several signs ({', '.join(form.signs[:5])}): of one currency?"
        doubts.append(Doubt(about="amount", says=says, rows=profile.rows_of([column])))
    if is_text and not form.decimal and _is_ambiguous(profile, column):
        says = (
            "amounts such as these can be read with decimals and with thousands; they are taken to "
            "have decimals behind a point. Say decimal and thousands in [source.csv]."
        )
        marked = f"regexp_full_match({column.sql}, '.*[.,][0-9]{{3}}.*')"
        doubts.append(Doubt(about="amount", says=says, rows=profile.rows_of([column], marked)))
    if form.negatives and not form.others:
        says = "all amounts are below 0: their sign is taken away."
        doubts.append(Doubt(about="amount", says=says, rows=profile.rows_of([column])))
    draft.put("columns", "amount", said or column.name, *doubts)
    return form, tuple(_signs_of(profile, column, form, is_spent_negative))


def _other_money(profile: Profile, mapping: Mapping, column: Column) -> list[Doubt]:
    """Other columns that may as well say how much was paid."""
    names = [name for names in NAMES["amount"] for name in listed(names)]
    others = [
        one
        for one in profile.columns
        if one.name not in mapping.taken()
        and likeness(one.name, names) >= 55
        and fits("amount", one, profile)
    ]
    if not others:
        return []
    said = ", ".join(repr(one.name) for one in others[:4])
    says = f"{said} may be what was paid as well; {column.name!r} is taken."
    return [Doubt(about="amount", says=says, rows=profile.rows_of([column, *others[:4]]))]


def _is_number_in_sql(profile: Profile, column: Column) -> bool:
    """Whether an expression sees the column as a number, since all its values are plain ones."""
    is_plain = f"regexp_full_match({column.sql}, {literal(f'({INTEGER})|({NUMBER})')})"
    return column.kind != "VARCHAR" or not profile.count(f"NOT {is_plain}")


def _is_ambiguous(profile: Profile, column: Column) -> bool:
    return bool(
        profile.count(f"regexp_full_match({column.sql}, '[^0-9]*[0-9]{{1,3}}[.,][0-9]{{3}}')")
    )


def _signs_of(
    profile: Profile, column: Column, form: MoneyForm, is_spent_negative: bool
) -> list[tuple[str, Doubt]]:
    """What a condition on the amount's sign leaves out, where there are two signs."""
    name = named(column.name)
    if not form.negatives or not form.others:
        return []
    is_plain = _is_number_in_sql(profile, column)
    below = f"contains({name}, '-')"
    if form.has_brackets:
        below = f"({below} OR contains({name}, '('))"
    below = f"{name} < 0" if is_plain else below
    if is_spent_negative:
        says = (
            f"{form.negatives:,} amounts are below 0 and {form.others:,} above: those below are "
            "taken to be what was paid, the others are left out."
        )
        shown = profile.rows_of([column], f"NOT {form.negative}")
        return [(below, Doubt(about="where", says=says, rows=shown))]
    says = (
        f"{form.negatives:,} of {profile.rows:,} amounts are below 0, so refunds or corrections: "
        "they are left out."
    )
    kept = f"{name} >= 0" if is_plain else f"NOT {below}"
    return [(kept, Doubt(about="where", says=says, rows=profile.rows_of([column], form.negative)))]


def _no_payments(profile: Profile, mapping: Mapping) -> list[tuple[str, Doubt]]:
    """A column that says what kind of row it is, some of which are no payments."""
    found: list[tuple[str, Doubt]] = []
    known = {*NO_PAYMENT.split()}
    for column in _kinds(profile, mapping):
        values = profile.values(column, MAX_TYPES)
        others = [value for value in values if {*words_of(value)} & known or value in known]
        if not others or len(others) == len(values):
            continue
        listed = ", ".join(literal(value) for value in others)
        rows = profile.rows_of([column], f"{column.sql} IN ({listed})")
        says = f"rows whose {column.name!r} is {', '.join(others[:5])} are taken to be no payments."
        said = f"coalesce({named(column.name)}, '') NOT IN ({listed})"
        found.append((said, Doubt(about="where", says=says, rows=rows)))
    return found


def _kinds(profile: Profile, mapping: Mapping) -> list[Column]:
    telling = {"type", "kind", "category", "status", "state", "art", "tipo", "typ", "operation"}
    return [
        column
        for column in profile.columns
        if {*words_of(column.name)} & telling
        and 2 <= column.distinct <= MAX_TYPES
        and column.is_mostly("letters", 0.9)
        and column is not mapping.columns.get("is_fraud")
    ]


def _put_declined(draft: Draft, profile: Profile, mapping: Mapping) -> None:
    known = {*DECLINED.split()}
    for column in _kinds(profile, mapping):
        refused = [one for one in profile.values(column, MAX_TYPES) if {*words_of(one)} & known]
        if not refused or len(refused) == column.distinct:
            continue
        listed = ", ".join(literal(value) for value in refused)
        rows = profile.rows_of([column], f"{column.sql} IN ({listed})")
        says = f"a {column.name!r} of {', '.join(refused[:5])} is taken to mean a refused payment."
        said = f"{named(column.name)} IN ({listed})"
        draft.put("columns", "declined", said, Doubt(about="declined", says=says, rows=rows))
        return


def _put_optional(
    draft: Draft, profile: Profile, ours: str, column: Column, time_format: str
) -> None:
    said, doubts = column.name, list[Doubt]()
    if ours in TIMES:
        said = _other_time(profile, column, time_format)
    currencies = sorted({code.upper() for code in profile.values(column)})
    if ours == "currency" and len(currencies) > 1:
        codes = ", ".join(currencies)
        says = (
            f"amounts are in several currencies ({codes}); training needs one to count in: write "
            '[currency] reporting = "EUR" and rates = "rates.csv" (currency, day, rate).'
        )
        doubts.append(Doubt(about="currency", says=says, rows=profile.rows_of([column])))
    if ours in ("merchant_id", "counterparty_id") and _may_be_either(column):
        other = "counterparty_id" if ours == "merchant_id" else "merchant_id"
        says = (
            f"{column.name!r} may be a retailer or a person; write {other} where it is the other."
        )
        doubts.append(Doubt(about=ours, says=says, rows=profile.rows_of([column])))
    draft.put("columns", ours, said, *doubts)


def _may_be_either(column: Column) -> bool:
    return bool(
        {*words_of(column.name)} & {"empfanger", "empfaenger", "target", "payee", "receiver"}
    )


def _other_time(profile: Profile, column: Column, time_format: str) -> str:
    """A further time: as SQL where it is not written like the payment's own."""
    form, name = find_time(profile, column), named(column.name)
    if form is None or form.kind in ("type", "iso", "offset"):
        is_epoch = time_format in ("seconds", "milliseconds", "microseconds")
        is_text = form is not None and form.kind == "iso"
        return f"CAST({name} AS TIMESTAMPTZ)" if is_epoch and is_text else column.name
    if form.kind == "epoch" and form.pattern != time_format:
        per = {"seconds": " * 1000000", "milliseconds": " * 1000"}.get(form.pattern, "")
        return f"make_timestamptz(CAST({name}{per} AS BIGINT))"
    if form.kind == "pattern" and form.pattern != time_format:
        return f"strptime({name}::VARCHAR, {literal(form.pattern)})"
    return column.name
