"""What an exported graph is given: numbers, and the code of each category's value."""

from collections.abc import Mapping
from dataclasses import dataclass

from features.encoder import Encoder
from pipeline.models.baselines.columns import Columns
from pipeline.models.risk_encoding import NO_RISK, CategoryRisk, RiskEncoding


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the graph is given: numbers in their order, and the known values of each category.

    A value is known where one of the models knows it. From the categories the graph makes the
    numbers of `risks`, and puts them behind those it is given.
    """

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    risks: tuple[CategoryRisk, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All numbers that the models read from."""
        return (*self.numbers, *(one.column for one in self.risks))

    @classmethod
    def of(cls, encoder: Encoder, columns: Columns, risk: RiskEncoding = NO_RISK) -> "Inputs":
        """The networks' inputs in their order, then those that the classical model alone reads."""
        made = {one.column for one in risk.categories}
        numbers = [code.name for group in encoder.groups for code in group.numbers]
        known = {
            code.name: code.vocabulary for group in encoder.groups for code in group.categories
        }
        told = {one.name: one.values for one in risk.categories}
        both = {
            name: (*known.get(name, ()), *columns.categories.get(name, ()), *told.get(name, ()))
            for name in dict.fromkeys([*known, *columns.categories, *told])
        }
        every = dict.fromkeys([*numbers, *columns.numbers])
        return cls(
            numbers=tuple(name for name in every if name not in made),
            categories={name: tuple(dict.fromkeys(values)) for name, values in both.items()},
            risks=risk.categories,
        )
