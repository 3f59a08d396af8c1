"""Numbers and times as people read them on a page.

>>> money(1234.5, "EUR"), percent(0.0034), signed(-1.25), odds(2.0), title("ip")
('1,234.50 EUR', '0.3 %', '−1.25', 'odds × 7.4', 'IP')
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import exp
from urllib.parse import urlencode

from pipeline.casework import AlertFacts, Amount


def money(total: float, currency: str | None) -> str:
    """An amount with its currency, where that is known."""
    return f"{total:,.2f} {currency or ''}".strip()


def moneys(amounts: Iterable[Amount]) -> str:
    """Sums of several currencies are listed, never added."""
    return " + ".join(money(amount.total, amount.currency) for amount in amounts)


def one_currency(amounts: tuple[Amount, ...]) -> str | None:
    """The currency all the amounts are in, if it is one."""
    return amounts[0].currency if len(amounts) == 1 else None


def loss(alert: AlertFacts, total: float | None = None) -> str:
    """An alert's expected loss, or one of its transactions', with the currency it is in."""
    currency = alert.loss_currency or one_currency(alert.amounts)
    return money(alert.expected_loss if total is None else total, currency)


def percent(probability: float) -> str:
    """A probability with one decimal, never rounded to certainty.

    >>> percent(0.00001), percent(0.99999)
    ('< 0.1 %', '> 99.9 %')
    """
    if 0 < probability < 0.001:
        return "< 0.1 %"
    if 0.999 < probability < 1:
        return "> 99.9 %"
    return f"{100 * probability:.1f} %"


def signed(increment: float) -> str:
    """Log-odds with their sign."""
    return f"{increment:+.2f}".replace("-", "−")


def odds(increment: float) -> str:
    """What log-odds do to the odds.

    >>> odds(-0.6931), odds(0.0)
    ('odds ÷ 2.0', 'odds × 1.0')
    """
    factor = exp(min(abs(increment), 50.0))
    shown = f"{factor:.1f}" if factor < 100 else f"{factor:,.0f}"
    return f"odds {'×' if increment >= 0 else '÷'} {shown}"


def moment(at: datetime) -> str:
    """A time to the minute; every page says once that times are UTC."""
    return f"{at:%d %b %Y, %H:%M}"


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that tells enough.

    >>> from datetime import UTC
    >>> noon = datetime(2025, 3, 10, 12, tzinfo=UTC)
    >>> [age(noon - timedelta(minutes=minutes), noon) for minutes in (0, 59, 90, 3000)]
    ['now', '59 min', '1 h', '2 days']
    """
    passed = now - since
    if passed < timedelta(minutes=1):
        return "now"
    if passed < timedelta(hours=1):
        return f"{passed // timedelta(minutes=1)} min"
    if passed < timedelta(days=2):
        return f"{passed // timedelta(hours=1)} h"
    return f"{passed.days} days"


def title(group: str) -> str:
    """A group's name as a heading."""
    return {"ip": "IP"}.get(group, group.replace("_", " ").capitalize())


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "transaction"), counted(2, "transaction")
    ('1 transaction', '2 transactions')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def probability(logit: float) -> float:
    """The probability of log-odds."""
    return 1 / (1 + exp(-max(min(logit, 700.0), -700.0)))


def query(**asked: str) -> str:
    """A query string, quoted."""
    return urlencode(asked)
