"""Sets of columns that a pattern names: a hundred anonymous columns in one line of a portfolio.

A pattern is over the source's names (`*` any signs, `?` one), whatever their capitals. In the lake
each column is called by its name in lower case, where that is a name that means nothing else.
"""

import re

from features.groups.catalogue import is_free

PREFIX = "c_"  # before a name that could not stand alone, such as 1st or order


def stored_name(theirs: str) -> str:
    """How the lake calls a column of a set.

    >>> stored_name("V12"), stored_name("Order"), stored_name("1st tier")
    ('v12', 'c_order', 'c_1st_tier')
    """
    name = _tidy(theirs)
    return name if is_free(name) else f"{PREFIX}{name}"


def fits(pattern: str, name: str) -> bool:
    """Whether a column of the source, or of the lake, is one of the pattern's.

    >>> fits("V*", "V12"), fits("V*", "v12"), fits("?st*", "c_1st_tier"), fits("V*", "amount")
    (True, True, True, False)
    """
    signs = re.escape(_tidy(pattern, kept="*?")).replace(r"\*", ".*").replace(r"\?", ".")
    tidy = _tidy(name)
    return any(re.fullmatch(signs, one) for one in (tidy, tidy.removeprefix(PREFIX)))


def example_of(pattern: str) -> str:
    """A name that fits the pattern, as the lake would have it.

    >>> example_of("V*")
    'vx'
    """
    return stored_name(pattern.replace("*", "x").replace("?", "x"))


def _tidy(name: str, *, kept: str = "") -> str:
    return re.sub(rf"[^a-z0-9_{re.escape(kept)}]", "_", name.lower())
