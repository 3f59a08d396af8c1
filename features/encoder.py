"""What is learned of the features from the training period alone: knots, scales, vocabularies.

Numbers go through the signed logarithm sign(x) log(1 + |x|), so that cents and thousands, seconds
and months are told apart on one scale. Knots lie at its quantiles and, closer, in both tails: a
rule such as "above the 99.8th percentile" is kept.

A category knows its most frequent values. Where it has more than MAX_KNOWN different ones, the
others share BUCKETS codes by their hash: a hundred thousand values cost no more than a thousand.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from typing import cast
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.declarations import Group
from features.stored_json import parse_json

QUANTILES = np.unique([*np.linspace(0, 1, 9), 0.0005, 0.005, 0.99, 0.995, 0.998, 0.999, 0.9995])
MIN_SEEN = 20  # a category seen less often is as good as unknown
# codes before the vocabulary, and of its most frequent value
MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
MAX_KNOWN = 1000  # values of a category that have a code each
BUCKETS = 64  # codes that the others share

FloatArray = npt.NDArray[np.float32]


class EncodeError(ValueError):
    """Features are not those an encoder was fitted on, or hold what no encoder can take."""


@dataclass(frozen=True, kw_only=True)
class NumberCode:
    """A number's knots, middle and spread after the signed logarithm."""

    name: str
    knots: tuple[float, ...]
    middle: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class CategoryCode:
    """A category's known values; codes are 0 missing, 1 unknown, 2 and up the vocabulary.

    The last of the vocabulary may be buckets: what is not known by name is known by its hash.
    """

    name: str
    vocabulary: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GroupCode:
    """What is learned of one group."""

    name: str
    numbers: tuple[NumberCode, ...]
    categories: tuple[CategoryCode, ...]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Features as arrays, in the groups' order.

    `numbers` [rows, N] are on the log scale and 0 where missing, `missing` [rows, N] is 1 there,
    `codes` are [rows, C].
    """

    numbers: FloatArray
    missing: FloatArray
    codes: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Turns built features into arrays; fitted once, on the training period."""

    groups: tuple[GroupCode, ...]

    @classmethod
    def fit(cls, features: pa.Table, groups: Sequence[Group]) -> "Encoder":
        """Learn from the training rows. Raises EncodeError on infinite numbers.

        >>> from features.declarations import Group, fact
        >>> paid = fact("paid", "amount", "")
        >>> group = Group(name="amount", meaning="", needs=(), features=(paid,))
        >>> encoder = Encoder.fit(pa.table({"paid": [1.0, 2.0, None]}), [group])
        >>> encoder.encode(pa.table({"paid": [None]})).missing
        array([[1.]], dtype=float32)
        """
        return cls(groups=tuple(_fit_group(features, group) for group in groups))

    def encode(self, features: pa.Table) -> Encoded:
        """Return the arrays of these rows. Raises EncodeError on an absent or infinite feature."""
        numbers = [code.name for group in self.groups for code in group.numbers]
        categories = [code for group in self.groups for code in group.categories]
        _check_there(features, [*numbers, *(code.name for code in categories)])
        values = np.empty((features.num_rows, len(numbers)), dtype=np.float32)
        for position, name in enumerate(numbers):
            values[:, position] = _signed_log(features, name)
        missing = np.isnan(values)
        codes = np.empty((features.num_rows, len(categories)), dtype=np.int64)
        for position, code in enumerate(categories):
            codes[:, position] = _codes(features[code.name], code.vocabulary)
        return Encoded(
            numbers=np.where(missing, np.float32(0), values),
            missing=missing.astype(np.float32),
            codes=codes,
        )

    def varying(self, encoded: Encoded) -> "Encoder":
        """The encoder of those facts alone that differ between these rows.

        Nothing can be learned of the others, nor of a group that has none. Raises EncodeError where
        none differs.
        """
        numbers = _differ(encoded.numbers) | _differ(encoded.missing)
        codes = _differ(encoded.codes)
        groups, number, code = [], 0, 0
        for group in self.groups:
            behind = number + len(group.numbers), code + len(group.categories)
            kept = GroupCode(
                name=group.name,
                numbers=tuple(compress(group.numbers, numbers[number : behind[0]])),
                categories=tuple(compress(group.categories, codes[code : behind[1]])),
            )
            number, code = behind
            if kept.numbers or kept.categories:
                groups.append(kept)
        if not groups:
            raise EncodeError(
                f"no feature differs between the {len(encoded.numbers)} rows to learn from; "
                "take a longer span"
            )
        return Encoder(groups=tuple(groups))

    @property
    def names(self) -> tuple[str, ...]:
        """The facts that are encoded, those of a group behind one another."""
        parts = [part for group in self.groups for part in (group.numbers, group.categories)]
        return tuple(code.name for part in parts for code in part)

    def to_json(self) -> str:
        """Return all that was learned as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Encoder":
        """Return the encoder that `to_json` described. Raises EncodeError for any other text."""
        try:
            return parse_json(cls, text, name="encoder.json")
        except ValueError as error:
            raise EncodeError(f"{error}; export the bundle again") from error


def _differ(columns: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Which columns have more than one value."""
    return np.asarray((columns != columns[:1]).any(axis=0))


def _check_there(features: pa.Table, names: Sequence[str]) -> None:
    if absent := [name for name in names if name not in features.column_names]:
        raise EncodeError(
            f"the features lack {', '.join(absent)}; "
            "build them with the groups the encoder was fitted on"
        )


def _fit_group(features: pa.Table, group: Group) -> GroupCode:
    shown = [feature for feature in group.features if feature.shown]
    return GroupCode(
        name=group.name,
        numbers=tuple(
            _fit_number(features, feature.name) for feature in shown if feature.kind != "category"
        ),
        categories=tuple(
            _fit_category(features, feature.name) for feature in shown if feature.kind == "category"
        ),
    )


def _fit_number(features: pa.Table, name: str) -> NumberCode:
    values = _signed_log(features, name)
    values = values[~np.isnan(values)]
    if not len(values):
        return NumberCode(name=name, knots=(0.0, 1.0), middle=0.0, spread=1.0)
    knots = np.unique(np.quantile(values, QUANTILES).astype(np.float32))
    if len(knots) < 2:
        knots = np.array([knots[0], knots[0] + 1], dtype=np.float32)
    middle, spread = float(np.median(values)), float(values.std())
    return NumberCode(
        name=name,
        knots=tuple(knots.tolist()),
        middle=middle,
        spread=spread if spread > 1e-6 else 1.0,
    )


def _fit_category(features: pa.Table, name: str) -> CategoryCode:
    counted = features[name].drop_null().value_counts().to_pylist()
    often = sorted(
        (-entry["counts"], entry["values"]) for entry in counted if entry["counts"] >= MIN_SEEN
    )
    known = tuple(value for _, value in often)
    if len(counted) > MAX_KNOWN:
        known = (*known[:MAX_KNOWN], *map(bucket_name, range(BUCKETS)))
    return CategoryCode(name=name, vocabulary=known)


def bucket_name(number: int) -> str:
    """What a bucket is called among the known values of a category; no value begins like it."""
    return f"\x1fbucket {number}"


def bucket_of(value: str) -> str:
    """The bucket that a value falls into where it is not known by name.

    >>> bucket_of("a rare value") == bucket_of("a rare value")
    True
    """
    return bucket_name(crc32(value.encode()) % BUCKETS)


def _signed_log(features: pa.Table, name: str) -> FloatArray:
    values = features[name].to_numpy(zero_copy_only=False).astype(np.float64)
    if np.isinf(values).any():
        raise EncodeError(
            f"the feature {name} is infinite in {int(np.isinf(values).sum())} rows; "
            "a missing value is null"
        )
    return cast(FloatArray, (np.sign(values) * np.log1p(np.abs(values))).astype(np.float32))


def _codes(values: pa.ChunkedArray, vocabulary: Sequence[str]) -> npt.NDArray[np.int64]:
    known = pa.array(vocabulary, pa.string())
    places = pc.index_in(values, known)
    if bucket_name(0) in vocabulary:
        places = pc.coalesce(places, pc.index_in(_buckets(values), known))
    codes = pc.fill_null(pc.add(places.cast(pa.int64()), FIRST_KNOWN), UNKNOWN)
    return np.where(values.is_null().to_numpy(), MISSING, codes.to_numpy())


def _buckets(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The bucket of each value; each different one is hashed once."""
    different = values.combine_chunks().dictionary_encode()
    names = pa.array([bucket_of(value) for value in different.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([names.take(different.indices)])
