"""A bundle gives the same scores anywhere, and opens without running anything.

It is refused when it is not what was written.
"""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.explanation.nearest_cases import CaseIndex
from pipeline.explanation.typical_ranges import TypicalRange
from pipeline.failures import explain
from pipeline.models.calibration import PlattScaling
from pipeline.policy.selection import Policy
from pipeline.registry.bundle import Bundle, BundleError, read_bundle, write_bundle
from tests.small_network import confirmed_cases, keyed_rows, layered, training_rows

BUNDLE = Bundle(
    portfolio="world",
    model=layered(networks=2),
    calibration=PlattScaling(a=0.9, b=-0.2),
    policy=Policy(capacity_per_day=7, cost=2.5, least_gain=1.25),
    feature_digest="0123456789abcdef",
    features={"amount_paid": "0123456789abcdef"},
    ip_databases={"city.mmdb": "2023-04-01"},
    trained_as_of=datetime(2025, 2, 5, tzinfo=UTC),
    metrics={"ap": 0.51, "base_rate": 0.005},
    typical_ranges={"paid": TypicalRange(low=9.5, high=41.0, own=False)},
    cases=confirmed_cases(layered(networks=2)),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(BUNDLE, tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def test_scores_are_the_same_after_reading_in_batch_and_alone(written: Path) -> None:
    read, rows = read_bundle(written), training_rows(60)
    kept = BUNDLE.probability(BUNDLE.model.logit(rows))
    np.testing.assert_allclose(read.probability(read.model.logit(rows)), kept, atol=1e-5)
    alone = [read.probability(read.model.logit(rows.slice(place, 1)))[0] for place in range(60)]
    np.testing.assert_allclose(alone, kept, atol=1e-5)
    np.testing.assert_allclose(read.increments(rows), BUNDLE.increments(rows), atol=1e-5)


def test_all_else_is_read_as_it_was_written(written: Path) -> None:
    read = read_bundle(written)
    assert (read.calibration, read.policy, read.trained_as_of) == (
        BUNDLE.calibration,
        BUNDLE.policy,
        BUNDLE.trained_as_of,
    )
    assert (read.portfolio, read.feature_digest, read.metrics) == (
        "world",
        "0123456789abcdef",
        BUNDLE.metrics,
    )
    assert (read.features, read.ip_databases) == (BUNDLE.features, BUNDLE.ip_databases)
    assert (read.typical_ranges, read.cases.facts) == (BUNDLE.typical_ranges, BUNDLE.cases.facts)
    assert read.cases.nearest(read.model, keyed_rows(8)) == BUNDLE.cases.nearest(
        BUNDLE.model, keyed_rows(8)
    )


def test_a_bundle_may_know_no_cases(tmp_path: Path) -> None:
    read = read_bundle(
        write_bundle(
            replace(BUNDLE, cases=CaseIndex.none(), typical_ranges={}), tmp_path / "bundle"
        )
    )
    assert read.cases.nearest(read.model, keyed_rows(2)) == [(), ()]


def test_reading_unpickles_nothing(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for room, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(room, name, refuse)
    assert read_bundle(written).model.stages == ("amount", "place")


def test_no_file_is_a_pickle_or_an_archive_of_one(written: Path) -> None:
    for file in written.iterdir():
        start = file.read_bytes()[:9]
        assert start[:1] != b"\x80", f"{file.name} starts as a pickle does"
        assert start[:2] != b"PK", f"{file.name} is a zip, as torch.save writes"
        if file.suffix == ".safetensors":
            assert start[8:9] == b"{"  # eight bytes of length, then JSON
        else:
            file.read_text(encoding="utf-8")


def test_the_card_says_what_it_is(written: Path) -> None:
    card = (written / "card.md").read_text(encoding="utf-8")
    for words in (
        "# world",
        "2025-02-05 00:00 UTC",
        "amount, place",
        "| ap | 0.51 |",
        "given the groups",
    ):
        assert words in card


@pytest.mark.parametrize("cut", [0, 1, 40], ids=["empty", "one byte", "forty bytes"])
@pytest.mark.parametrize(
    "name",
    [
        "network-0.safetensors",
        "network.json",
        "encoder.json",
        "card.md",
        "cases.json",
        "cases.safetensors",
    ],
)
def test_a_truncated_file_is_refused(folder: Path, name: str, cut: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:cut])
    with pytest.raises(
        BundleError,
        match=f"{name} of the bundle .* is missing or altered; export the champion again",
    ) as raised:
        read_bundle(folder)
    assert explain(raised.value).code == 4


def test_one_altered_bit_is_refused(folder: Path) -> None:
    weights = bytearray((folder / "network-1.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "network-1.safetensors").write_bytes(weights)
    with pytest.raises(
        BundleError, match=r"network-1\.safetensors of the bundle .* is missing or altered"
    ):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["network-1.safetensors", "encoder.json", "usual.json"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} of the bundle .* is missing or altered"):
        read_bundle(folder)


def test_a_file_that_the_manifest_does_not_name_is_refused(folder: Path) -> None:
    (folder / "more.json").write_text("{}")
    with pytest.raises(BundleError, match=r"more\.json of the bundle .* is not in the manifest"):
        read_bundle(folder)


@pytest.mark.parametrize("text", [None, "", "{", "\xff"], ids=["none", "empty", "torn", "not text"])
def test_a_folder_without_a_manifest_is_no_bundle(folder: Path, text: str | None) -> None:
    (folder / "manifest.json").unlink()
    if text is not None:
        (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        BundleError, match=r"is no bundle \(no readable manifest\.json\); export the champion again"
    ):
        read_bundle(folder)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest."""
    facts = json.loads((folder / "manifest.json").read_text())
    edit(facts)
    (folder / "manifest.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("form", [0, 3, None, "5"], ids=str)
def test_another_format_is_refused(folder: Path, form: object) -> None:
    change(folder, lambda facts: facts.update(format=form))
    with pytest.raises(
        BundleError, match=r"is not of format 6; train or export it again with this version"
    ) as raised:
        read_bundle(folder)
    assert explain(raised.value).code == 2


def test_a_manifest_that_is_a_list_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1]")
    with pytest.raises(BundleError, match="is not of format 6"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../stolen", "/etc/hostname", "..", "sub/encoder.json"])
def test_a_manifest_leads_nowhere_but_into_its_folder(folder: Path, name: str) -> None:
    (folder.parent / "stolen").write_text("x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
    change(folder, lambda facts: facts["files"].update({name: digest}))
    with pytest.raises(BundleError, match="is missing or altered"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name",
    [
        "portfolio",
        "feature_digest",
        "features",
        "ip_databases",
        "trained_as_of",
        "calibration",
        "policy",
        "metrics",
        "files",
    ],
)
def test_an_incomplete_manifest_is_refused(folder: Path, name: str) -> None:
    change(folder, lambda facts: facts.pop(name))
    with pytest.raises(BundleError, match=name):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("calibration", {"a": -1.0, "b": 0.0}),
        ("calibration", [1, 2]),
        ("policy", {"capacity_per_day": 1}),
        ("trained_as_of", "yesterday"),
        ("trained_as_of", 5),
        ("files", ["encoder.json"]),
    ],
    ids=[
        "a slope downwards",
        "no names",
        "half a policy",
        "no time",
        "a number as time",
        "files without digests",
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(folder: Path, name: str, value: object) -> None:
    change(folder, lambda facts: facts.update({name: value}))
    with pytest.raises(BundleError, match="export"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("name", "edit", "sentence"),
    [
        (
            "network.json",
            lambda stored: stored.pop("networks"),
            "network.json makes no sense at networks: field required",
        ),
        (
            "network.json",
            lambda stored: stored["shape"].update(width="16"),
            "network.json makes no sense at shape.width: .* valid integer, found '16'",
        ),
        (
            "network.json",
            lambda stored: stored.update(opinion={"trust": 1.5, "a": 1.0, "b": 0.0}),
            "network.json makes no sense at opinion.trust: .* less than or equal to 1, found 1.5",
        ),
        (
            "encoder.json",
            lambda stored: stored["groups"][0].pop("numbers"),
            "encoder.json makes no sense at groups.0.numbers: field required",
        ),
        (
            "usual.json",
            lambda stored: stored["paid"].update(low=None),
            "usual.json makes no sense at paid.low: .* valid number, found None",
        ),
        (
            "usual.json",
            lambda stored: stored["paid"].update(middle=2.0),
            "usual.json makes no sense at paid.middle: .*, found 2.0",
        ),
        (
            "cases.json",
            lambda stored: stored.pop("is_fraud"),
            "cases.json makes no sense at is_fraud: field required",
        ),
        (
            "cases.json",
            lambda stored: stored.update(event_time=["noon"]),
            "cases.json makes no sense at event_time.0: .* valid integer, found 'noon'",
        ),
        (
            "manifest.json",
            lambda stored: stored["metrics"].update(ap="high"),
            "manifest.json makes no sense at metrics.ap: .* valid number, found 'high'",
        ),
        (
            "manifest.json",
            lambda stored: stored.update(trained_as_of="2025-02-05T00:00:00"),
            "manifest.json makes no sense at trained_as_of: .* timezone",
        ),
    ],
)
def test_a_file_that_lacks_a_key_or_has_another_type_is_refused(
    folder: Path, name: str, edit: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    stored = json.loads((folder / name).read_text())
    edit(stored)
    text = json.dumps(stored)
    (folder / name).write_text(text)
    if name != "manifest.json":
        digest = hashlib.sha256(text.encode()).hexdigest()
        change(folder, lambda facts: facts["files"].update({name: digest}))
    with pytest.raises(BundleError, match=rf"fit together \({sentence}.*\); export it again"):
        read_bundle(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    """The digests fit, the weights do not: one sentence, however many tensors differ."""
    text = (folder / "network.json").read_text().replace('"width": 16', '"width": 8')
    (folder / "network.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    change(folder, lambda facts: facts["files"].update({"network.json": digest}))
    with pytest.raises(
        BundleError, match=r"does not fit together \([^\n]*size mismatch[^\n]*\); export it again"
    ):
        read_bundle(folder)


def test_cases_without_their_states_are_refused(folder: Path) -> None:
    text = json.dumps(
        {
            name: values[1:]
            for name, values in json.loads((folder / "cases.json").read_text()).items()
        }
    )
    (folder / "cases.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    change(folder, lambda facts: facts["files"].update({"cases.json": digest}))
    with pytest.raises(
        BundleError,
        match=r"\(19 cases of a network of width 16 have states of the shape \(20, 16\)\)",
    ):
        read_bundle(folder)


def test_a_bundle_is_written_to_a_new_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds files already; name a new folder for the bundle"):
        write_bundle(BUNDLE, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
