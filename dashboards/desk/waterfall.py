"""A score's way from the base rate to its final log-odds, each stage pushing it up or down.

A bar is drawn in units of the plot's width (0 to 100); `render_bar` turns it into an SVG that needs
neither script nor style.

>>> steps = waterfall(-4.0, [("amount", 1.0), ("ip", 2.0)])
>>> [(step.name, step.start, step.end) for step in steps]
[('base', 0.0, 0.0), ('amount', 0.0, 33.333), ('ip', 33.333, 100.0)]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

HEIGHT = 22
MIN_WIDTH = 0.8  # an increment of nothing still shows where it stands


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage of the plot: log-odds `before` and `after` it; its bar is `start` to `end`."""

    name: str
    before: float
    after: float
    start: float
    end: float

    @property
    def increment(self) -> float:
        """What the stage added."""
        return self.after - self.before


def waterfall(base: float, increments: Sequence[tuple[str, float]]) -> tuple[Step, ...]:
    """The steps from the base log-odds on, all on one scale."""
    levels = list(accumulate((increment for _, increment in increments), initial=base))
    low, high = min(levels), max(levels)
    width = (high - low) or 1.0
    places = [round(100 * (level - low) / width, 3) for level in levels]
    first = Step(name="base", before=base, after=base, start=places[0], end=places[0])
    rest = [
        Step(name=name, before=before, after=after, start=start, end=end)
        for (name, _), before, after, start, end in zip(
            increments, levels, levels[1:], places, places[1:], strict=False
        )
    ]
    return (first, *rest)


def render_bar(step: Step) -> Markup:
    """The step's bar with a thin line where it arrives.

    The number next to it says the same in text.
    """
    left, right = sorted((step.start, step.end))
    kind = "up" if step.increment > 0 else "down" if step.increment < 0 else "base"
    x = min(left, 100 - MIN_WIDTH)
    width = max(right - left, MIN_WIDTH)
    return Markup(
        '<svg class="bar {}" viewBox="0 0 100 {}" preserveAspectRatio="none" '
        'aria-hidden="true" focusable="false">'
        '<line class="arrival" x1="{}" x2="{}" y1="0" y2="{}"/>'
        '<rect x="{}" y="5" width="{}" height="{}"/></svg>'
    ).format(kind, HEIGHT, step.end, step.end, HEIGHT, round(x, 3), round(width, 3), HEIGHT - 10)
