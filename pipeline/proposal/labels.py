"""The lines of [labels]: how labels are written, when they are known, where they stand apart."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.checks.coercion import FALSE, TRUE
from pipeline.proposal.draft import Doubt, Draft
from pipeline.proposal.mapping import Mapping
from pipeline.proposal.profile import Column, Profile
from pipeline.proposal.related import Related
from pipeline.proposal.sample import Sheet, path_of
from pipeline.proposal.words import FRAUD, LEGITIMATE, UNLABELLED
from pipeline.sources.delivery import literal

LARGE_FRAUD_SHARE = 0.2
DELAY = "7d"


def put_labels(
    draft: Draft,
    profile: Profile,
    mapping: Mapping,
    related: Sequence[Related],
    *,
    home: Path,
    sheets: dict[str, Sheet],
) -> None:
    """Write where labels come from, when they are known and how they are written."""
    apart = next((one for one in related if one.kind == "labels"), None)
    label = mapping.columns.get("is_fraud")
    if apart is not None:
        _put_labels_apart(draft, apart, home=home, sheets=sheets)
    elif label is None:
        says = (
            "no column says what was fraud: a training needs labels. Map is_fraud in [columns], or "
            "give the chargebacks' file as path in [labels]; verdicts of analysts are labels, too."
        )
        draft.put("labels", "delay", DELAY, Doubt(about="labels", says=says))
    else:
        _put_delay(draft, profile, mapping, label)
        _put_values(draft, profile, label)


def _put_delay(draft: Draft, profile: Profile, mapping: Mapping, label: Column) -> None:
    doubts = []
    if "label_known_at" not in mapping.columns:
        says = (
            "nothing says when a label became known, so each is taken to be known 7 days after its "
            'payment; chargebacks take longer, such as "30d".'
        )
        doubts.append(Doubt(about="labels", says=says, rows=profile.rows_of([label])))
    share = _fraud_share(profile, label)
    if share > LARGE_FRAUD_SHARE:
        says = (
            f"{share:.0%} of the labels are fraud, more than any stream of payments has: where "
            "legitimate ones were thinned out, write the stream's rate, such as prior = 0.002."
        )
        doubts.append(Doubt(about="prior", says=says, rows=profile.rows_of([label])))
    draft.put("labels", "delay", DELAY, *doubts)


def _put_labels_apart(
    draft: Draft, apart: Related, *, home: Path, sheets: dict[str, Sheet]
) -> None:
    path = path_of(apart.profile.sheet, home)
    sheets[path] = apart.profile.sheet
    columns = {"transaction_id": apart.own.name, "is_fraud": "true"}
    if apart.label is not None:
        columns["is_fraud"] = apart.label.name
    if apart.reported is not None:
        columns["label_known_at"] = apart.reported.name
    shown = [one for one in (apart.own, apart.label, apart.reported) if one is not None]
    what = "each of its rows is a fraud" if apart.label is None else f"{apart.label.name!r} says it"
    says = f"{apart.path.name} has labels of these payments: {what}."
    doubt = Doubt(about="labels", says=says, rows=apart.profile.rows_of(shown))
    draft.put("labels", "path", path, doubt)
    draft.put("labels", "columns", columns)
    if apart.label is not None:
        _put_values(draft, apart.profile, apart.label)


def _put_values(draft: Draft, profile: Profile, column: Column) -> None:
    """How the labels are written, where true and false, yes and no, 1 and 0 do not say it."""
    values = [value.strip() for value in profile.values(column)]
    plain = {value for value in values if value.lower() in (*TRUE, *FALSE)}
    rest = [value for value in values if value not in plain]
    rows = profile.rows_of([column], _is_one_of(column, rest)) if rest else ()
    told = {
        "fraud": FRAUD.split(),
        "legitimate": LEGITIMATE.split(),
        "unlabelled": UNLABELLED.split(),
    }
    sorted_in = {kind: _among(values, words) for kind, words in told.items()}
    known = {value for found in sorted_in.values() for value in found}
    unknown = [value for value in rest if value not in known]
    if not rest:
        return
    says = f"labels that say {', '.join(rest[:6])} are read as here."
    if unknown:
        says += f" What {', '.join(map(repr, unknown[:6]))} mean is not known: put them in a list."
    for kind, found in sorted_in.items():
        if found:
            doubt = Doubt(about="labels", says=says, rows=rows)
            draft.put("labels.values", kind, found, *([doubt] if kind == "fraud" else []))


def _is_one_of(column: Column, values: list[str]) -> str:
    return f"trim({column.sql}) IN ({', '.join(literal(value) for value in values)})"


def _fraud_share(profile: Profile, column: Column) -> float:
    """Share of frauds of the rows that have a label."""
    words = ", ".join(literal(word) for word in FRAUD.split())
    said = f"lower(trim({column.sql}))"
    unlabelled = ", ".join(literal(word) for word in UNLABELLED.split())
    (share,) = profile.ask(f"avg(({said} IN ({words}))::INT) FILTER ({said} NOT IN ({unlabelled}))")
    return float(str(share or 0.0))


def _among(values: Sequence[str], words: Sequence[str]) -> list[str]:
    """The values that are one of the words, whatever their capitals."""
    return [value for value in values if value.lower().replace(" ", "_") in words]
