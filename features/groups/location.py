"""Location: how far from home, from the last place and from the retailer, and how fast one travelled.

Home is the mean of the account's earlier places.
"""

from features.declarations import Group, fact, from_row, hidden, last_row, newly_seen
from features.places import distance, mean_point, point, point_of_row

NO_PLACE = "no place in the 90d before, or this one unknown"

GROUP = Group(
    name="location",
    meaning="how far from home, from the last place and from the retailer, "
    "and how fast one would have travelled",
    needs=("latitude", "longitude"),
    features=(
        *point("here", "latitude", "longitude", "this place"),
        *mean_point("home", "here", "mean of the account's places of 90d"),
        *distance(
            "distance_from_home",
            "here",
            "home",
            "distance from the middle of the account's places of 90d",
            null=NO_PLACE,
        ),
        last_row(
            "last_place", "account_id", where="latitude IS NOT NULL AND longitude IS NOT NULL"
        ),
        *point_of_row("last", "here", "last_place", "the account's last known place"),
        hidden(
            from_row(
                "last_place_us",
                "as_of_us",
                "last_place",
                "when the account was at its last known place",
            )
        ),
        *distance(
            "distance_from_last",
            "here",
            "last",
            "distance from the account's last known place",
            null=NO_PLACE,
        ),
        fact(
            "travel_speed",
            # 3 minutes: one street is no flight
            "distance_from_last / ((as_of_us - last_place_us) / 3600000000.0 + 0.05)",
            "speed of travel from the account's last known place",
            unit="km/h",
            null=NO_PLACE,
        ),
        hidden(
            fact(
                "place_south",
                "floor(latitude)",
                "southern edge of the place's square",
                unit="degrees",
                null="unknown",
            )
        ),
        hidden(
            fact(
                "place_west",
                "floor(longitude)",
                "western edge of the place's square",
                unit="degrees",
                null="unknown",
            )
        ),
        newly_seen(
            "place_new_for_account",
            "account_id+place_south+place_west",
            "place in a square of one degree that is new to the account within 90d",
        ),
        *point("retailer", "merchant_latitude", "merchant_longitude", "the retailer's place"),
        *distance(
            "distance_to_retailer",
            "here",
            "retailer",
            "distance from the retailer",
            null="one of the places unknown",
        ),
        newly_seen(
            "retailer_country_new",
            "account_id+merchant_country",
            "retailer's country new to the account within 90d",
        ),
        fact(
            "retailer_abroad",
            "CASE WHEN merchant_country <> country THEN 1.0"
            " WHEN merchant_country = country THEN 0.0 END",
            "retailer outside the card's country",
            null="one of the countries unknown",
            kind="flag",
        ),
    ),
)
