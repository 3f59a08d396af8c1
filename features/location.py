"""Location: how far from home, from the last place and from the retailer, and whether one could have travelled so fast.

Home is the mean of the account's earlier places as points on the unit sphere; distances are along great circles.
"""

from features.windows import LOOKBACK, PAST, Feature, Group, fact, from_row, hidden, newly_seen, past, previous

EARTH_RADIUS_KM = 6371.0
HERE = ("cos(radians({0}latitude)) * cos(radians({0}longitude))", "cos(radians({0}latitude)) * sin(radians({0}longitude))", "sin(radians({0}latitude))")


def _place(prefix: str, axes: tuple[str, ...], meaning: str) -> tuple[Feature, ...]:
    return tuple(hidden(fact(f"{prefix}_{axis}", sql, meaning, null="place unknown")) for axis, sql in zip("xyz", axes, strict=True))


def _home(axis: str) -> Feature:
    return hidden(past(f"home_{axis}", f"avg(here_{axis}) {PAST}", "account_id", LOOKBACK, "mean of its places", null="no place yet"))


def _distance(name: str, there: str, meaning: str, *, null: str) -> Feature:
    """Distance in km between here and a point (or mean of points) with the axes `<there>_x`, `_y`, `_z`."""
    length = " + ".join(f"{there}_{axis} * {there}_{axis}" for axis in "xyz")
    dot = " + ".join(f"here_{axis} * {there}_{axis}" for axis in "xyz")
    cosine = f"least(1.0, greatest(-1.0, ({dot}) / nullif(sqrt({length}), 0)))"
    return fact(name, f"{EARTH_RADIUS_KM} * acos({cosine})", meaning, unit="km", null=null)


GROUP = Group(
    name="location",
    meaning="how far from home, from the last place and from the retailer, and how fast one would have travelled",
    needs=("latitude", "longitude"),
    features=(
        *_place("here", tuple(axis.format("") for axis in HERE), "point on the unit sphere"),
        *(_home(axis) for axis in "xyz"),
        _distance("distance_from_home", "home", "from the mean of its places of 90d", null="no place yet, or now unknown"),
        previous("last_place", "account_id", where="latitude IS NOT NULL AND longitude IS NOT NULL"),
        *(hidden(from_row(f"last_{axis}", f"here_{axis}", "last_place", "its last known place")) for axis in "xyz"),
        hidden(from_row("last_place_us", "as_of_us", "last_place", "when it was there")),
        _distance("distance_from_last", "last", "from its last known place", null="no place yet, or now unknown"),
        fact("travel_speed", "distance_from_last / ((as_of_us - last_place_us) / 3600000000.0 + 0.05)", "implied speed", unit="km/h", null="no place yet"),
        *_place("retailer", tuple(axis.format("merchant_") for axis in HERE), "the retailer's place"),
        _distance("distance_to_retailer", "retailer", "from the retailer", null="a place is unknown"),
        newly_seen("retailer_country_new", "account_id+merchant_country", "the account never paid in this country within 90d"),
        fact("retailer_abroad", "CASE WHEN merchant_country <> country THEN 1.0 WHEN merchant_country = country THEN 0.0 END",
             "the retailer is not in the card's country", null="a country is unknown", kind="flag"),
    ),
)
