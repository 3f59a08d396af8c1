"""Champion and challenger: who decides, who wants to, and why the change was or was not allowed."""

from dataclasses import dataclass
from typing import Literal

from pipeline.registry.changes import drop_alias, set_alias, succeed
from pipeline.registry.figures import Figures
from pipeline.registry.model_version import Version
from pipeline.registry.versions import Registry

Direction = Literal["above", "not below"]
# AP below a classical model on the same weeks; whose whole interval lies lower is shown to be worse
NON_INFERIORITY_MARGIN = -0.01


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition of a promotion: a figure, and the bound that it must keep.

    >>> figures = "its AP is 0.500"
    >>> gate = Gate(name="chance", value=0.5, bound=0.005, direction="above", figures=figures)
    >>> gate.sentence
    'yes: its AP is 0.500, chance gives 0.0050'
    """

    name: str
    value: float
    bound: float
    direction: Direction
    figures: str

    @property
    def passed(self) -> bool:
        """Whether the figure keeps the bound."""
        if self.direction == "above":
            return self.value > self.bound
        return not self.value < self.bound

    @property
    def sentence(self) -> str:
        """What a person reads of it."""
        return f"{'yes' if self.passed else 'no'}: {self.figures}, {self._bound_in_words()}"

    def _bound_in_words(self) -> str:
        if self.direction == "above":
            return f"chance gives {self.bound:.4f}"
        return f"{'not wholly' if self.passed else 'wholly'} below {self.bound:+.2f}"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The gates that a version stood before; it became champion if it passed them all."""

    version: str
    gates: tuple[Gate, ...]

    @property
    def allowed(self) -> bool:
        """Whether the version became champion."""
        return all(gate.passed for gate in self.gates)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The gates in sentences."""
        return tuple(gate.sentence for gate in self.gates)


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """The version that is champion again, and the one that is no more."""

    version: str
    replaced: str


class PromotionError(ValueError):
    """There is nothing to promote or to roll back to."""


def promote(registry: Registry, portfolio: str) -> Promotion:
    """Make the challenger champion when its figures allow it.

    Raises PromotionError when there is no challenger.
    """
    challenger = registry.version(portfolio, "challenger")
    if challenger is None:
        raise PromotionError(f"portfolio {portfolio} has no challenger; run strata train first")
    promotion = Promotion(version=challenger.number, gates=gates(challenger))
    if promotion.allowed:
        succeed(registry, portfolio, challenger)
        drop_alias(registry, portfolio, "challenger")
    return promotion


def gates(challenger: Version) -> tuple[Gate, ...]:
    """What a challenger has to pass: better than chance, and not shown to be worse than a rival.

    The rivals are classical models, judged on the same weeks. Shown means that the whole 95 %
    interval of the paired difference of AP lies below what is tolerated.
    """
    figures = Figures.from_metrics(challenger.metrics)
    rivals = [_non_inferiority(name, figures) for name in sorted(figures.over)]
    return (_chance(figures), *rivals)


def _chance(figures: Figures) -> Gate:
    return Gate(
        name="chance",
        value=figures.ap,
        bound=figures.base_rate,
        direction="above",
        figures=f"its AP is {figures.ap:.3f}",
    )


def _non_inferiority(rival: str, figures: Figures) -> Gate:
    found = figures.over[rival]
    interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
    return Gate(
        name=rival,
        value=found.high,
        bound=NON_INFERIORITY_MARGIN,
        direction="not below",
        figures=f"its AP minus {rival}'s is {found.difference:+.3f}, {interval}",
    )


def rollback(registry: Registry, portfolio: str) -> Rollback:
    """Bring back the version the champion took over from.

    Raises PromotionError when there is none.
    """
    before = registry.predecessor(portfolio)
    now = registry.version(portfolio, "champion")
    if before is None or now is None:
        nobody = f"the champion of portfolio {portfolio} took over from nobody"
        raise PromotionError(f"{nobody}; there is nothing to roll back to")
    set_alias(registry, portfolio, "champion", before)
    return Rollback(version=before.number, replaced=now.number)
