"""Places by hand: home, the last place, the speed between, squares and countries seen before."""

import math

import pytest

from tests.features.streams import facts

LONDON, PARIS, NEARBY = (51.5, -0.1), (48.9, 2.4), (51.9, -0.9)
UNKNOWN, HALF = (None, None), (48.9, None)


def test_home_is_the_middle_of_the_earlier_places_also_across_the_date_line() -> None:
    found = facts(
        "location",
        {"day": 0, "place": (0.0, 179.0)},
        {"day": 1, "place": (0.0, -179.0)},
        {"day": 2, "place": (0.0, 180.0)},
    )
    # 2 degrees
    assert found["distance_from_home"].tolist() == pytest.approx(
        [math.nan, 222.39, 0], nan_ok=True, abs=0.01
    )


def test_speed_is_from_the_last_place_that_is_known() -> None:
    found = facts(
        "location",
        {"day": 0, "place": LONDON},
        {"day": 0.5, "place": HALF},
        {"day": 1, "place": PARIS},
    )
    assert found["distance_from_last"].tolist() == pytest.approx(
        [math.nan, math.nan, 339], nan_ok=True, rel=0.01
    )
    assert found["travel_speed"].iloc[2] == pytest.approx(
        found["distance_from_last"].iloc[2] / 24.05
    )


def test_a_place_is_new_when_its_square_of_one_degree_is() -> None:
    places = [LONDON, NEARBY, PARIS, UNKNOWN, HALF, LONDON]
    found = facts("location", *({"day": day, "place": place} for day, place in enumerate(places)))
    assert found["place_new_for_account"].tolist() == pytest.approx(
        [1, 0, 1, math.nan, math.nan, 0], nan_ok=True
    )


def test_a_retailers_country_is_new_once_and_abroad_against_the_cards() -> None:
    countries = [("GB", "GB"), ("FR", "GB"), ("FR", None), (None, "GB")]
    found = facts(
        "location",
        *(
            {"day": day, "merchant_country": shop, "country": card}
            for day, (shop, card) in enumerate(countries)
        ),
    )
    assert found["retailer_country_new"].tolist() == pytest.approx([1, 1, 0, math.nan], nan_ok=True)
    assert found["retailer_abroad"].tolist() == pytest.approx(
        [0, 1, math.nan, math.nan], nan_ok=True
    )
