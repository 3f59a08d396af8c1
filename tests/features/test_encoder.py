"""What is learned of features: of training rows alone, exact in JSON, ready for what comes."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.declarations import Feature, Group, fact
from features.encoder import (
    BUCKETS,
    FIRST_KNOWN,
    MAX_KNOWN,
    MIN_SEEN,
    MISSING,
    EncodeError,
    Encoder,
    NumberCode,
)


def group(*features: Feature) -> Group:
    return Group(name="group", meaning="", needs=(), features=features)


PAID = group(fact("paid", "amount", ""))
KIND = group(fact("kind", "channel", "", kind="category"))
BOTH = group(*PAID.features, *KIND.features)


def number(values: list[float | None]) -> NumberCode:
    return (
        Encoder.fit(pa.table({"paid": pa.array(values, pa.float64())}), [PAID]).groups[0].numbers[0]
    )


def kinds(values: list[str | None]) -> pa.Table:
    return pa.table({"kind": pa.array(values, pa.string())})


def test_a_number_goes_through_the_signed_logarithm() -> None:
    encoder = Encoder.fit(pa.table({"paid": [1.0, 2.0]}), [PAID])
    encoded = encoder.encode(pa.table({"paid": [math.e - 1, 1 - math.e, 0.0, None, math.nan]}))
    assert encoded.numbers[:, 0].tolist() == pytest.approx([1, -1, 0, 0, 0])
    assert encoded.missing[:, 0].tolist() == [0, 0, 0, 1, 1]


def test_the_middle_and_the_spread_are_those_of_the_known_values() -> None:
    code = number([0.0, math.e - 1, math.e**2 - 1, None])
    assert [code.middle, code.spread] == pytest.approx([1, math.sqrt(2 / 3)])


def test_the_knots_reach_into_both_tails() -> None:
    values = np.arange(100_001.0)
    knots = np.expm1(number(values.tolist()).knots)
    for quantile in (0, 0.0005, 0.005, 0.5, 0.99, 0.995, 0.998, 0.999, 0.9995, 1):
        assert np.abs(knots - 100_000 * quantile).min() < 1
    assert np.all(np.diff(knots) > 0)


@pytest.mark.parametrize(
    ("values", "knots"),
    [([3.0, 3.0, 3.0], (math.log(4), math.log(4) + 1)), ([None, None], (0, 1))],
    ids=["a constant", "all missing"],
)
def test_a_number_that_tells_nothing_still_has_two_knots_and_a_spread(
    values: list[float | None], knots: tuple[float, ...]
) -> None:
    code = number(values)
    assert code.knots == pytest.approx(knots)
    assert code.spread == 1.0


def test_a_category_is_missing_unknown_or_a_place_in_the_vocabulary() -> None:
    encoder = Encoder.fit(
        kinds(["rare"] * (MIN_SEEN - 1) + ["some"] * MIN_SEEN + ["most"] * (MIN_SEEN + 1) + [None]),
        [KIND],
    )
    assert encoder.groups[0].categories[0].vocabulary == ("most", "some")
    assert encoder.encode(kinds([None, "never", "rare", "most", "some"])).codes[:, 0].tolist() == [
        0,
        1,
        1,
        2,
        3,
    ]


def test_a_category_of_a_hundred_thousand_values_is_hashed_beyond_the_most_frequent() -> None:
    often = [f"often {number}" for number in range(MAX_KNOWN + 10)] * MIN_SEEN
    rare = [f"rare {number}" for number in range(100_000)]
    encoder = Encoder.fit(kinds([*often, "often 7", *rare]), [KIND])
    vocabulary = encoder.groups[0].categories[0].vocabulary
    assert (vocabulary[0], len(vocabulary)) == ("often 7", MAX_KNOWN + BUCKETS)
    codes = encoder.encode(kinds([None, "often 7", *rare, "never seen"])).codes[:, 0]
    assert codes[:2].tolist() == [MISSING, FIRST_KNOWN]
    assert codes[2:].min() == FIRST_KNOWN + MAX_KNOWN
    assert np.bincount(codes[2:] - FIRST_KNOWN - MAX_KNOWN, minlength=BUCKETS).min() > 1000
    assert encoder.encode(kinds(["rare 5"])).codes.item() == codes[2 + 5]


def test_what_is_the_same_in_all_rows_is_left_out() -> None:
    facts = {
        "differs": [1.0, 2.0, 3.0],
        "constant": [5.0, 5.0, 5.0],
        "at times known": [5.0, None, 5.0],
        "never known": pa.array([None, None, None], pa.float64()),
    }
    group_of = group(*(fact(name, name, "") for name in facts))
    idle = Group(name="idle", meaning="", needs=(), features=(fact("none", "none", ""),))
    table = pa.table({**facts, "none": [0.0, 0.0, 0.0]})
    encoder = Encoder.fit(table, [idle, group_of])
    narrow = encoder.varying(encoder.encode(table))
    assert narrow.names == ("differs", "at times known")
    assert [one.name for one in narrow.groups] == ["group"]
    assert narrow.varying(narrow.encode(table)) == narrow


def test_rows_that_are_all_the_same_are_refused() -> None:
    encoder = Encoder.fit(table := pa.table({"paid": [1.0, 1.0]}), [PAID])
    with pytest.raises(EncodeError, match="no feature differs between the 2 rows"):
        encoder.varying(encoder.encode(table))


def test_encoding_learns_nothing() -> None:
    encoder = Encoder.fit(pa.table({"paid": [1.0, 2.0], "kind": ["a", None]}), [BOTH])
    before = encoder.to_json()
    encoder.encode(pa.table({"paid": [1e9, None], "kind": ["b", "b"]}))
    assert encoder.to_json() == before


def test_hidden_features_are_not_encoded_and_order_is_the_groups() -> None:
    quiet = Feature(name="quiet", sql="amount", meaning="", shown=False)
    encoder = Encoder.fit(
        pa.table({"z": [1.0], "a": [2.0]}),
        [group(fact("z", "z", ""), quiet, fact("a", "a", "", kind="flag"))],
    )
    assert [code.name for code in encoder.groups[0].numbers] == ["z", "a"]
    assert encoder.encode(pa.table({"a": [0.0], "z": [math.e - 1]})).numbers.tolist() == [
        [pytest.approx(1), 0]
    ]


@given(
    paid=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    kind=st.lists(
        st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
        min_size=1,
        max_size=5,
    ),
)
def test_an_encoder_is_exactly_itself_after_json(
    paid: list[float | None], kind: list[str | None]
) -> None:
    table = pa.table(
        {
            "paid": pa.array(paid * MIN_SEEN, pa.float64()),
            "kind": pa.array((kind * len(paid))[: len(paid)] * MIN_SEEN, pa.string()),
        }
    )
    encoder = Encoder.fit(table, [BOTH])
    again = Encoder.from_json(encoder.to_json())
    assert again == encoder
    assert np.array_equal(again.encode(table).codes, encoder.encode(table).codes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "makes no sense at the top: invalid JSON"),
        ("{}", r"makes no sense at groups: field required, found \{\}; export the bundle again"),
        ('{"groups": [{"name": 1}]}', r"groups\.0\.name: input should be a valid string, found 1"),
    ],
    ids=["empty", "without groups", "a number as name"],
)
def test_a_damaged_encoder_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(EncodeError, match=sentence):
        Encoder.from_json(text)


def test_an_infinite_number_is_refused() -> None:
    with pytest.raises(
        EncodeError, match="the feature paid is infinite in 2 rows; a missing value is null"
    ):
        Encoder.fit(pa.table({"paid": [math.inf, 1.0, -math.inf]}), [PAID])


def test_absent_features_are_refused() -> None:
    encoder = Encoder.fit(pa.table({"paid": [1.0], "kind": ["a"]}), [BOTH])
    with pytest.raises(
        EncodeError, match="the features lack paid, kind; build them with the groups"
    ):
        encoder.encode(pa.table({"other": [1.0]}))
