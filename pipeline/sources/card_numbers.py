"""Card numbers are not shown: what looks like one keeps its last four digits."""

import re

RUN = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]*\d)")
KEPT = 4


def masked(text: str) -> str:
    """The text with all but the last four digits of card-like numbers covered.

    Card-like are 13 to 19 digits, blanks and hyphens among them, whose check digit is right.

    >>> masked("card 4111 1111 1111 1111, order 4111111111111112")
    'card ************1111, order 4111111111111112'
    """
    return RUN.sub(lambda found: _cover(found[0]), text)


def _cover(run: str) -> str:
    digits = [int(sign) for sign in run if sign.isdigit()]
    if not _is_right(digits):
        return run
    return "*" * (len(digits) - KEPT) + "".join(map(str, digits[-KEPT:]))


def _is_right(digits: list[int]) -> bool:
    """Luhn's check (ISO/IEC 7812-1)."""
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
