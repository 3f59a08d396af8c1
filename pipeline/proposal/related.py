"""How several files belong together: a table that is joined by an id, or labels that come apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import duckdb

from pipeline.proposal.forms import find_time
from pipeline.proposal.mapping import Mapping
from pipeline.proposal.profile import Column, Profile
from pipeline.proposal.words import NAMES, likeness, listed, words_of

LABEL_WORDS = {
    *("chargeback", "chargebacks", "fraud", "frauds", "fraude", "fraudes", "label", "labels"),
    *("dispute", "disputes", "betrug", "rucklastschrift", "contracargos", "impayes", "verdicts"),
}
MIN_SHARED = 0.5  # of one table's ids that the other has
MIN_SHARED_OF_PARTS = 0.02  # where only parts of the files are looked at


@dataclass(frozen=True, kw_only=True)
class Related:
    """Another table and how it hangs on the payments: their column, and its own."""

    profile: Profile
    kind: Literal["labels", "join"]
    theirs: Column
    own: Column
    label: Column | None = None
    reported: Column | None = None
    columns: dict[str, Column] = field(default_factory=dict)  # what a join adds, by name

    @property
    def path(self) -> Path:
        """Its first file."""
        return self.profile.sheet.files[0].path


def find_related(
    main: Profile, mapping: Mapping, others: Sequence[Profile]
) -> tuple[list[Related], list[Profile]]:
    """How each other table belongs to the payments, and those that do not."""
    found: list[Related] = []
    strangers: list[Profile] = []
    for other in others:
        pair = _shared_ids(main, other, mapping)
        if pair is None:
            strangers.append(other)
        else:
            found.append(_related(other, mapping, *pair))
    return found, strangers


def _related(other: Profile, mapping: Mapping, theirs: Column, own: Column) -> Related:
    label = _named("is_fraud", other, own)
    name_says = _file_words(other) & LABEL_WORDS
    reported = _reported(other, own)
    has_label = "is_fraud" in mapping.columns
    if not has_label and (label is not None or name_says):
        return Related(
            profile=other, kind="labels", theirs=theirs, own=own, label=label, reported=reported
        )
    columns = {one.name: one for one in other.columns if one.name and one.name != own.name}
    return Related(profile=other, kind="join", theirs=theirs, own=own, columns=columns)


def _file_words(profile: Profile) -> set[str]:
    file = profile.sheet.files[0].path
    return {*words_of(file.name.split(".")[0]), *words_of(file.parent.name)}


def _named(ours: str, profile: Profile, own: Column) -> Column | None:
    telling, weak = NAMES[ours]
    names = [*listed(telling), *listed(weak)]
    for column in profile.columns:
        is_other = column is not own and column.count and column.distinct <= 12
        is_called = likeness(column.name, names) >= 55
        if is_other and is_called and find_time(profile, column) is None:
            return column
    return None


def _reported(profile: Profile, own: Column) -> Column | None:
    """When a label became known: the column of it that is a time, the first of several."""
    for column in profile.columns:
        form = find_time(profile, column) if column is not own and column.count else None
        if form is not None and form.kind != "offset":
            return column
    return None


def _shared_ids(main: Profile, other: Profile, mapping: Mapping) -> tuple[Column, Column] | None:
    """Columns of both with the same values: the payment's id first, else a name in common."""
    own_id = mapping.columns.get("transaction_id")
    pairs = [(own_id, one) for one in other.columns] if own_id is not None else []
    for column in other.columns:
        twin = main.by_name.get(column.name)
        if twin is not None and twin.distinct > 1:
            pairs.append((twin, column))
    unique = [pair for pair in pairs if pair[1].count and pair[1].distinct == pair[1].count]
    for theirs, own in [*unique, *pairs]:
        if theirs is not None and own.count and _overlap(main, theirs, other, own):
            return theirs, own
    return None


def _overlap(main: Profile, theirs: Column, other: Profile, own: Column) -> bool:
    """Whether the smaller of two columns has most of its values in the other."""
    is_name = not own.is_mostly("decimals") and not own.is_time and own.distinct > 1
    if not is_name or theirs.is_time:
        return False
    ids = other.connection.sql(f"SELECT DISTINCT {own.sql} AS id FROM sheet").to_arrow_table()
    with duckdb.connect() as connection:
        mine = main.connection.sql(f"SELECT DISTINCT {theirs.sql} AS id FROM sheet")
        connection.register("mine", mine.to_arrow_table())
        connection.register("ids", ids)
        shared = connection.sql("SELECT count(*) FROM mine SEMI JOIN ids USING (id)").fetchall()
    is_whole = main.sheet.is_whole and other.sheet.is_whole
    least = MIN_SHARED if is_whole else MIN_SHARED_OF_PARTS
    return bool(shared[0][0] > least * min(theirs.distinct, own.distinct))
