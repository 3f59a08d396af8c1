"""Card numbers are covered wherever a value is shown, and no other number is."""

import pytest

from pipeline.sources.card_numbers import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4111111111111111", "************1111"),
        ('{"card":"4111-1111-1111-1111"}', '{"card":"************1111"}'),
        ("378282246310005 and 5555555555554444", "***********0005 and ************4444"),
        ("4111111111111112", "4111111111111112"),
        ("1746093600000000", "1746093600000000"),
        ("order 123456789012", "order 123456789012"),
        ("14111111111111111111111", "14111111111111111111111"),
    ],
    ids=["plain", "parted", "two", "wrong check digit", "microseconds", "too short", "too long"],
)
def test_what_is_card_like_keeps_four_digits(text: str, shown: str) -> None:
    assert masked(text) == shown
