"""What an exported graph is given: numbers, and the code of each category's value."""

from collections.abc import Mapping
from dataclasses import dataclass

from features.encoder import Encoder
from pipeline.models.baselines.columns import Columns


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the graph is given: numbers in their order, and the known values of each category.

    A value is known where one of the models knows it.
    """

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, encoder: Encoder, columns: Columns) -> "Inputs":
        """The networks' inputs in their order, then those that the classical model alone reads."""
        numbers = [code.name for group in encoder.groups for code in group.numbers]
        known = {
            code.name: code.vocabulary for group in encoder.groups for code in group.categories
        }
        both = {
            name: (*known.get(name, ()), *columns.categories.get(name, ()))
            for name in (*known, *columns.categories)
        }
        return cls(
            numbers=tuple(dict.fromkeys([*numbers, *columns.numbers])),
            categories={name: tuple(dict.fromkeys(values)) for name, values in both.items()},
        )
