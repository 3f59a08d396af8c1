"""Location: how far from home, from the last place and from the retailer, and whether one could have travelled so fast.

Home is the mean of the account's earlier places as points on the unit sphere; distances are along great circles.
"""

from features.windows import LOOKBACK, PAST, Feature, Group, fact, from_row, hidden, newly_seen, past, previous

EARTH_RADIUS_KM = 6371.0
NO_PLACE = "no place in the 90d before, or this one unknown"


def _point(name: str, latitude: str, longitude: str, meaning: str) -> tuple[Feature, ...]:
    """A place as a point on the unit sphere, so that places can be averaged across the date line."""
    axes = {
        "x": f"cos(radians({latitude})) * cos(radians({longitude}))",
        "y": f"cos(radians({latitude})) * sin(radians({longitude}))",
        "z": f"sin(radians({latitude}))",
    }
    return tuple(hidden(fact(f"{name}_{axis}", sql, f"{meaning}, axis {axis}", null="unknown")) for axis, sql in axes.items())


def _home(axis: str) -> Feature:
    meaning = f"mean of the account's places of 90d, axis {axis}"
    return hidden(past(f"home_{axis}", f"avg(here_{axis}) {PAST}", "account_id", LOOKBACK, meaning, null="no place yet"))


def _last(axis: str) -> Feature:
    return hidden(from_row(f"last_{axis}", f"here_{axis}", "last_place", f"the account's last known place, axis {axis}"))


def _distance(name: str, there: str, meaning: str, *, null: str) -> tuple[Feature, ...]:
    """The km between here and a point, or a mean of points, with the axes `<there>_x`, `_y` and `_z`.

    Kahan's 2 atan2(|u - v|, |u + v|): an arc cosine would lose all digits at short distances.
    """
    squares = " + ".join(f"{there}_{axis} * {there}_{axis}" for axis in "xyz")
    length = hidden(fact(f"{there}_length", f"nullif(sqrt({squares}), 0)", "length of the vector", null=null))
    minus, plus = (
        " + ".join(f"power(here_{axis} {sign} {there}_{axis} / {length.name}, 2)" for axis in "xyz") for sign in "-+"
    )
    sql = f"{2 * EARTH_RADIUS_KM} * atan2(sqrt({minus}), sqrt({plus}))"
    return length, fact(name, sql, meaning, unit="km", null=null)


GROUP = Group(
    name="location",
    meaning="how far from home, from the last place and from the retailer, and how fast one would have travelled",
    needs=("latitude", "longitude"),
    features=(
        *_point("here", "latitude", "longitude", "this place"),
        *(_home(axis) for axis in "xyz"),
        *_distance("distance_from_home", "home", "distance from the middle of the account's places of 90d", null=NO_PLACE),
        previous("last_place", "account_id", where="latitude IS NOT NULL AND longitude IS NOT NULL"),
        *(_last(axis) for axis in "xyz"),
        hidden(from_row("last_place_us", "as_of_us", "last_place", "when the account was at its last known place")),
        *_distance("distance_from_last", "last", "distance from the account's last known place", null=NO_PLACE),
        fact(
            "travel_speed",
            "distance_from_last / ((as_of_us - last_place_us) / 3600000000.0 + 0.05)",  # 3 minutes: one street is no flight
            "speed of travel from the account's last known place",
            unit="km/h",
            null=NO_PLACE,
        ),
        *_point("retailer", "merchant_latitude", "merchant_longitude", "the retailer's place"),
        *_distance("distance_to_retailer", "retailer", "distance from the retailer", null="one of the places unknown"),
        newly_seen("retailer_country_new", "account_id+merchant_country", "retailer's country new to the account within 90d"),
        fact(
            "retailer_abroad",
            "CASE WHEN merchant_country <> country THEN 1.0 WHEN merchant_country = country THEN 0.0 END",
            "retailer outside the card's country",
            null="one of the countries unknown",
            kind="flag",
        ),
    ),
)
