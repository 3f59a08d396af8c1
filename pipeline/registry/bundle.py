"""What ships: a folder that scores on its own.

It has weights, encoder, calibration, policy and model card; no pickle.
`manifest.json` holds the SHA-256 of every other file, so a truncated or altered bundle is refused
before it is used.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError

from features.stored_json import place_and_problem, read_json
from pipeline.arrays import FloatArray
from pipeline.explanation.nearest_cases import CaseIndex
from pipeline.explanation.typical_ranges import TypicalRange
from pipeline.failures import BrokenError
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import Layered
from pipeline.models.one_stage import Model, read_model, state_width
from pipeline.policy.selection import Policy

FORMAT = 6
TYPICAL_RANGES = "usual.json"
MANIFEST = "manifest.json"
# what a wrong file leads to
UNFIT = (KeyError, TypeError, AttributeError, ValueError, OSError, RuntimeError, SafetensorError)


class BundleError(ValueError):
    """A bundle is damaged, of another format, or for other features than this code builds."""


class BrokenBundleError(BundleError, BrokenError):
    """A bundle is cut, altered, or lacks what it was written with."""


class Manifest(BaseModel):
    """What manifest.json holds; `files` are the digests of all other files by their names."""

    model_config = ConfigDict(frozen=True)

    format: Literal[4, 5, 6]
    portfolio: str
    feature_digest: str
    features: dict[str, str]
    ip_databases: dict[str, str]
    trained_as_of: AwareDatetime
    stages: tuple[str, ...]
    calibration: dict[str, float]
    policy: dict[str, float]
    metrics: dict[str, float]
    currency: str = ""
    rates: str = ""
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The model, layered or classical, with all that is needed to decide: made once, never changed.

    `feature_digest` is the fingerprint of the features it was trained on, `features` that of each;
    `ip_databases` the dates of the files that placed IP addresses; `trained_as_of` the moment it
    knew everything by; `currency` that of its amounts, where it is known, and `rates` the
    fingerprint of those that converted them. Reasons show each fact with its range in the training
    (`typical_ranges`), and the nearest of the confirmed `cases`.
    """

    portfolio: str
    model: Model
    calibration: PlattScaling
    policy: Policy
    feature_digest: str
    features: Mapping[str, str]
    ip_databases: Mapping[str, str]
    trained_as_of: datetime
    metrics: Mapping[str, float]
    currency: str = ""
    rates: str = ""
    typical_ranges: Mapping[str, TypicalRange] = field(default_factory=dict)
    cases: CaseIndex = field(default_factory=CaseIndex.none)

    def increments(self, features: pa.Table) -> FloatArray:
        """What each stage adds to the log-odds before calibration, [R, K]."""
        return self.model.increments(features)

    def probability(self, logit: FloatArray) -> FloatArray:
        """Calibrated probability of log-odds before calibration."""
        return self.calibration.probability(logit)


def write_bundle(bundle: Bundle, folder: Path) -> Path:
    """Write the bundle into a new folder.

    Raises BundleError when the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BundleError(f"{folder} holds files already; name a new folder for the bundle")
    folder.mkdir(parents=True, exist_ok=True)
    bundle.model.to_files(folder)
    bundle.cases.to_files(folder)
    ranges = {name: asdict(one) for name, one in bundle.typical_ranges.items()}
    (folder / TYPICAL_RANGES).write_text(json.dumps(ranges, indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(_card(bundle), encoding="utf-8")
    facts = {
        "format": FORMAT,
        "portfolio": bundle.portfolio,
        "feature_digest": bundle.feature_digest,
        "features": dict(bundle.features),
        "ip_databases": dict(bundle.ip_databases),
        "trained_as_of": bundle.trained_as_of.isoformat(),
        "stages": list(bundle.model.stages),
        "calibration": bundle.calibration.to_json(),
        "policy": bundle.policy.to_json(),
        "metrics": dict(bundle.metrics),
        **({"currency": bundle.currency} if bundle.currency else {}),
        **({"rates": bundle.rates} if bundle.rates else {}),
        "files": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return folder


def read_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle.

    Raises BrokenBundleError when a file is missing, added or altered, BundleError when there is no
    bundle or one of another format.
    """
    manifest = _read_manifest(folder)
    _check_files(folder, manifest.files)
    try:
        model = read_model(folder)
        return Bundle(
            portfolio=manifest.portfolio,
            model=model,
            calibration=PlattScaling.from_json(manifest.calibration),
            policy=Policy.from_json(manifest.policy),
            feature_digest=manifest.feature_digest,
            features=manifest.features,
            ip_databases=manifest.ip_databases,
            trained_as_of=manifest.trained_as_of.astimezone(UTC),
            metrics=manifest.metrics,
            currency=manifest.currency,
            rates=manifest.rates,
            typical_ranges=read_json(dict[str, TypicalRange], folder / TYPICAL_RANGES),
            cases=CaseIndex.from_files(folder, width=state_width(model)),
        )
    except UNFIT as error:
        raise _unfit(folder, str(error)) from error


def _read_manifest(folder: Path) -> Manifest:
    """Read the manifest; another format explains more than what the manifest lacks."""
    try:
        return read_json(Manifest, folder / MANIFEST)
    except (OSError, ValueError) as error:
        raise _foreign(folder, error.__cause__) from error


def _foreign(folder: Path, cause: BaseException | None) -> BundleError:
    """What is wrong with a bundle whose manifest is none."""
    wrong = cause.errors(include_url=False)[0] if isinstance(cause, ValidationError) else None
    if wrong is None or wrong["type"] == "json_invalid":
        lacks = f"no readable {MANIFEST}"
        kind = BrokenBundleError if (folder / MANIFEST).exists() else BundleError
        return kind(f"{folder} is no bundle ({lacks}); export the champion again")
    if wrong["loc"][:1] in {(), ("format",)}:
        other = f"the bundle {folder} is not of format {FORMAT}"
        return BundleError(f"{other}; train or export it again with this version")
    if wrong["loc"][0] == "files":
        lacks = f"the {MANIFEST} of {folder} names no files"
        return BrokenBundleError(f"{lacks}; export the champion again")
    return _unfit(folder, f"{MANIFEST} makes no sense at {place_and_problem(wrong)}")


def _unfit(folder: Path, problem: str) -> BundleError:
    """The error of a bundle whose parts do not make a whole, on one line."""
    found = f"is incomplete or does not fit together ({' '.join(problem.split())})"
    return BrokenBundleError(f"the bundle {folder} {found}; export it again")


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Nothing is read that the manifest does not name with its digest.

    A name leads nowhere but into the folder.
    """
    found = {
        file.name: file for file in folder.iterdir() if file.is_file() and file.name != MANIFEST
    }
    for name in sorted({*expected, *found}):
        if name not in expected or name not in found or _sha256(found[name]) != expected[name]:
            fate = "is not in the manifest" if name not in expected else "is missing or altered"
            what = f"{name} of the bundle {folder} {fate}"
            raise BrokenBundleError(f"{what}; export the champion again")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _card(bundle: Bundle) -> str:
    dated = ", ".join(f"{name} of {date}" for name, date in bundle.ip_databases.items())
    addresses = f"Facts of IP addresses: {dated}.\n\n" if dated else ""
    figures = "\n".join(f"| {name} | {value:.6g} |" for name, value in bundle.metrics.items())
    return (
        f"# {bundle.portfolio}: {_kind(bundle.model)}\n\n"
        f"Trained on what was known at {bundle.trained_as_of:%Y-%m-%d %H:%M} UTC; "
        f"{_parts(bundle.model)}.\n\n{_worth(bundle.model)}{addresses}"
        f"Scores are probabilities of fraud. {_meaning(bundle.model)} "
        "Judged on later weeks than it was trained on:\n\n"
        f"| figure | value |\n|---|---|\n{figures}\n"
    )


def _kind(model: Model) -> str:
    return "layered network" if isinstance(model, Layered) else model.baseline.name


def _parts(model: Model) -> str:
    stages = f"stages in order: {', '.join(model.stages)}"
    if isinstance(model, Layered):
        return f"{stages}; seeds averaged: {len(model.networks)}"
    return f"{len(model.facts)} facts in one stage"


def _worth(model: Model) -> str:
    weights = model.stage_weights if isinstance(model, Layered) else ()
    told = [f"{name} {weight:.2f}" for name, weight in zip(model.stages, weights, strict=False)]
    return f"What each depth was worth on later days: {', '.join(told)}.\n\n" if told else ""


def _meaning(model: Model) -> str:
    if isinstance(model, Layered):
        return (
            "A stage's increment is the weight of evidence of its "
            "group given the groups\nbefore it, not an effect of the group alone."
        )
    return "A fact's contribution is what it adds to the log-odds beside all others."
