"""Places as points on the unit sphere, so that they can be averaged across the date line.

Distances along great circles.
"""

from features.declarations import LOOKBACK, Feature, aggregate, fact, from_row, hidden

EARTH_RADIUS_KM = 6371.0


def point(name: str, latitude: str, longitude: str, meaning: str) -> tuple[Feature, ...]:
    """Declare the axes `<name>_x`, `_y` and `_z` of the point at these degrees."""
    axes = {
        "x": f"cos(radians({latitude})) * cos(radians({longitude}))",
        "y": f"cos(radians({latitude})) * sin(radians({longitude}))",
        "z": f"sin(radians({latitude}))",
    }
    return tuple(
        hidden(fact(f"{name}_{axis}", sql, f"{meaning}, axis {axis}", null="unknown"))
        for axis, sql in axes.items()
    )


def mean_point(name: str, here: str, meaning: str) -> tuple[Feature, ...]:
    """Declare the mean of the points `here` that the account had within the look-back."""
    means = (
        aggregate(
            f"{name}_{axis}",
            "mean",
            "account_id",
            LOOKBACK,
            f"{meaning}, axis {axis}",
            of=f"{here}_{axis}",
            null="none",
        )
        for axis in "xyz"
    )
    return tuple(map(hidden, means))


def point_of_row(name: str, here: str, row: str, meaning: str) -> tuple[Feature, ...]:
    """Declare the point `here` of the row that a `last_row` found."""
    return tuple(
        hidden(from_row(f"{name}_{axis}", f"{here}_{axis}", row, f"{meaning}, axis {axis}"))
        for axis in "xyz"
    )


def distance(name: str, here: str, there: str, meaning: str, *, null: str) -> tuple[Feature, ...]:
    """Declare the km between the point `here` and the point, or mean of points, `there`.

    Kahan's 2 atan2(|u - v|, |u + v|): an arc cosine would lose all digits at short distances.
    """
    squares = " + ".join(f"{there}_{axis} * {there}_{axis}" for axis in "xyz")
    length = hidden(
        fact(f"{there}_length", f"nullif(sqrt({squares}), 0)", "length of the vector", null=null)
    )
    minus, plus = (_squares(here, sign, f"{there}_{{}} / {length.name}") for sign in "-+")
    sql = f"{2 * EARTH_RADIUS_KM} * atan2(sqrt({minus}), sqrt({plus}))"
    return length, fact(name, sql, meaning, unit="km", null=null)


def _squares(here: str, sign: str, there: str) -> str:
    """The squared length of a point, plus or minus another; {} stands for the axis in `there`."""
    return " + ".join(f"power({here}_{axis} {sign} {there.format(axis)}, 2)" for axis in "xyz")
