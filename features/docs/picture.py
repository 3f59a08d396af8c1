"""The picture of what a window sees, docs/window.svg: a retailer's past when a payment is judged.

python -m features.docs.picture > docs/window.svg
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

SPAN_DAYS = 7.0  # the window of merchant_count_7d and merchant_known_frauds_7d
NOW = 0.0


@dataclass(frozen=True, kw_only=True)
class Payment:
    """A payment at the retailer: when it happened and reached us, in days after the one judged."""

    happened: float
    arrived: float
    note: str = ""

    @property
    def is_late(self) -> bool:
        """Whether it stands at its arrival, and not at the moment it happened."""
        return self.arrived > self.happened

    @property
    def is_seen(self) -> bool:
        """Whether the one judged sees it: in the span, and before the same microsecond."""
        return NOW - SPAN_DAYS <= self.arrived < NOW


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A fraud: when it was paid, when it was known, when the verdict was reversed, if ever."""

    paid: float
    known: float
    note: str
    reversed_at: float | None = None

    @property
    def is_seen(self) -> bool:
        """Whether it counts as a known fraud for the payment that is judged."""
        stands = self.reversed_at is None or self.reversed_at > NOW
        return stands and NOW - SPAN_DAYS <= self.known <= NOW


PAYMENTS = (
    Payment(happened=-8.6, arrived=-8.6, note="before the span"),
    Payment(happened=-6.2, arrived=-6.2),
    Payment(happened=-5.0, arrived=-5.0),
    Payment(happened=-2.7, arrived=-2.7),
    Payment(happened=-1.1, arrived=-1.1),
    Payment(happened=NOW, arrived=NOW, note="same microsecond"),
)
LATE = (
    Payment(happened=-5.6, arrived=-3.6, note="came late: stands at its arrival"),
    Payment(happened=-1.9, arrived=0.9, note="not here yet"),
)
VERDICTS = (
    Verdict(paid=-1.1, known=1.1, note="fraud, not known yet"),
    Verdict(
        paid=-5.0, known=-2.4, reversed_at=1.1, note="fraud, reversed later: counts until then"
    ),
    Verdict(paid=-6.2, known=-3.4, note="fraud, known"),
)

NOW_X, DAY_WIDTH = 712, 62
TOP, LATE_Y, PAYMENTS_Y, VERDICTS_Y, VERDICT_STEP, BOTTOM = 92, 152, 208, 290, 42, 402
LAST_DAY = 1.8
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
text { fill: #1f2933 }
.title { font-size: 18px; font-weight: 600 } .lane { font-weight: 600 } .soft { fill: #5b6b7b }
.end { text-anchor: end } .middle { text-anchor: middle }
.card { fill: #fff; stroke: #d5dde5 } .span { fill: #e6f0fa } .line { stroke: #8495a5; fill: none }
.dotted { stroke-dasharray: 2 4 }
.now { stroke: #b3440f; stroke-width: 2 } .judged { fill: #b3440f } text.judged { font-weight: 600 }
.seen { fill: #1d5fa8; stroke: #1d5fa8; stroke-width: 1.5 }
.unseen { fill: #fff; stroke: #748494; stroke-width: 1.5 }
.counts { stroke: #1d5fa8; stroke-width: 5 } .after { stroke: #c3ccd5; stroke-width: 5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .soft { fill: #9da9b5 }
.card { fill: #161b22; stroke: #30363d } .span { fill: #1b2d44 } .line { stroke: #7d8a97 }
.now { stroke: #f0883e } .judged { fill: #f0883e }
.seen { fill: #6cb0f5; stroke: #6cb0f5 } .unseen { fill: #161b22; stroke: #94a1ae }
.counts { stroke: #6cb0f5 } .after { stroke: #46515c }
}"""


def picture() -> str:
    """Return the text of docs/window.svg.

    It brings its own ground, so that it can be read on a light and on a dark page.
    """
    drawn = "\n".join([*_ground(), *_late(), *_payments(), *_verdicts(), *_legend()])
    size = 'viewBox="0 0 900 476" width="900" height="476"'
    title = '<title id="title">What a window sees</title>'
    about = f'{size} role="img" aria-labelledby="title"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {about}>\n{title}'
    return f"{head}\n<style>{STYLE}\n</style>\n{drawn}\n</svg>\n"


def _ground() -> Iterator[str]:
    """The card, the span, the line of now and the scale of days."""
    yield '<rect class="card" x="0.5" y="0.5" width="899" height="475" rx="10"/>'
    yield _text(24, 36, "What a window sees", "title")
    yield _text(
        24, 58, "one retailer's last 7 days, at the moment a payment there is judged", "soft"
    )
    start = _x(NOW - SPAN_DAYS)
    width, height = NOW_X - start, BOTTOM - TOP
    yield f'<rect class="span" x="{start}" y="{TOP}" width="{width}" height="{height}"/>'
    yield _text(
        (start + NOW_X) / 2,
        TOP + 20,
        "the span: from 7 days before now to one microsecond before",
        "soft middle",
    )
    yield _line(_x(-9), BOTTOM, _x(LAST_DAY), BOTTOM)
    yield _line(NOW_X, TOP, NOW_X, BOTTOM, "now")
    yield _text(NOW_X, TOP - 8, "now: its as_of", "judged middle")
    for day in range(-9, 2):
        yield _line(_x(day), BOTTOM, _x(day), BOTTOM + 5)
        yield _text(
            _x(day), BOTTOM + 20, f"{day:+d} d".replace("-", "−") if day else "0", "soft middle"
        )


def _late() -> Iterator[str]:
    yield _text(24, LATE_Y + 4, "late rows", "lane")
    for payment in LATE:
        start, end = _x(payment.happened), _x(payment.arrived)
        yield _line(start, LATE_Y, end - 14, LATE_Y, "line dotted")
        yield f'<path class="line" d="M{end - 18} {LATE_Y - 5} l7 5 l-7 5"/>'
        yield _dot(start, LATE_Y, 4, "unseen")
        yield _dot(end, LATE_Y, 7, _seen(payment.is_seen))
        yield _text(end, LATE_Y - 14, payment.note, "middle")


def _payments() -> Iterator[str]:
    yield _text(24, PAYMENTS_Y + 4, "payments", "lane")
    for payment in PAYMENTS:
        x, is_now = _x(payment.arrived), payment.arrived == NOW
        y = PAYMENTS_Y + (26 if is_now else 0)
        right, above = _text(x + 14, y + 4, payment.note), _text(x, y - 14, payment.note, "middle")
        yield _dot(x, y, 7, _seen(payment.is_seen))
        yield right if is_now else above
    yield f'<path class="judged" d="M{NOW_X} {PAYMENTS_Y - 10} l10 10 l-10 10 l-10 -10 z"/>'
    yield _text(NOW_X + 14, PAYMENTS_Y + 4, "the one judged", "judged")


def _verdicts() -> Iterator[str]:
    """Each fraud from its payment to when it was known, and from there as long as it counts."""
    yield _text(24, VERDICTS_Y + VERDICT_STEP + 4, "labels", "lane")
    for place, verdict in enumerate(VERDICTS):
        y, paid, known = VERDICTS_Y + place * VERDICT_STEP, _x(verdict.paid), _x(verdict.known)
        yield _line(paid, PAYMENTS_Y + 8, paid, y, "line dotted")
        yield _line(paid, y, known, y, "line dotted")
        end = _x(LAST_DAY if verdict.reversed_at is None else verdict.reversed_at)
        yield _line(max(known, NOW_X), y, end, y, "after")
        if verdict.is_seen:
            yield _line(known, y, NOW_X, y, "counts")
        yield _dot(known, y, 7, _seen(verdict.is_seen))
        if verdict.reversed_at is not None:
            yield f'<path class="line" d="M{end} {y - 8} v16"/>'
        x, above = (NOW_X, 12) if verdict.is_seen else (paid, -4)
        yield _text(x - 10, y - above, verdict.note, "end")


def _legend() -> Iterator[str]:
    y = 452
    yield _dot(31, y - 4, 7, "seen")
    yield _text(46, y, "seen")
    yield _dot(101, y - 4, 7, "unseen")
    yield _text(116, y, "not seen")
    yield _text(
        _x(LAST_DAY),
        y,
        f"merchant_count_7d = {payments_seen()}, merchant_known_frauds_7d = {frauds_known()}",
        "end",
    )


def payments_seen() -> int:
    """How many payments the one that is judged sees."""
    return sum(payment.is_seen for payment in (*PAYMENTS, *LATE))


def frauds_known() -> int:
    """How many frauds it knows of."""
    return sum(verdict.is_seen for verdict in VERDICTS)


def _x(day: float) -> float:
    return round(NOW_X + day * DAY_WIDTH, 1)


def _seen(is_seen: bool) -> str:
    return "seen" if is_seen else "unseen"


def _text(x: float, y: float, words: str, look: str = "") -> str:
    return f'<text class="{look}" x="{x}" y="{y}">{words}</text>' if words else ""


def _line(x: float, y: float, to_x: float, to_y: float, look: str = "line") -> str:
    return f'<line class="{look}" x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}"/>'


def _dot(x: float, y: float, radius: int, look: str) -> str:
    return f'<circle class="{look}" cx="{x}" cy="{y}" r="{radius}"/>'


if __name__ == "__main__":
    sys.stdout.write(picture())
