"""Champion and challenger: who decides, who wants to, and why the change was or was not allowed."""

from dataclasses import dataclass

from pipeline.registry.changes import drop_alias, set_alias, succeed
from pipeline.registry.figures import Figures
from pipeline.registry.model_version import Version
from pipeline.registry.versions import Registry

# AP below a classical model on the same weeks; whose whole interval lies lower is shown to be worse
NON_INFERIORITY_MARGIN = -0.01


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition of a promotion, whether it is met, and the figures that say so."""

    name: str
    passed: bool
    figures: str

    @property
    def sentence(self) -> str:
        """What a person reads of it."""
        return f"{'yes' if self.passed else 'no'}: {self.figures}"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Whether a version became champion, and the reasons in sentences."""

    version: str
    allowed: bool
    reasons: tuple[str, ...]


class PromotionError(ValueError):
    """There is nothing to promote or to roll back to."""


def promote(registry: Registry, portfolio: str) -> Promotion:
    """Make the challenger champion when its figures allow it.

    Raises PromotionError when there is no challenger.
    """
    challenger = registry.version(portfolio, "challenger")
    if challenger is None:
        raise PromotionError(f"portfolio {portfolio} has no challenger; run strata train first")
    found = gates(challenger)
    allowed = all(gate.passed for gate in found)
    if allowed:
        succeed(registry, portfolio, challenger)
        drop_alias(registry, portfolio, "challenger")
    reasons = tuple(gate.sentence for gate in found)
    return Promotion(version=challenger.number, allowed=allowed, reasons=reasons)


def gates(challenger: Version) -> tuple[Gate, ...]:
    """What a challenger has to pass: better than chance, and not shown to be worse than a rival.

    The rivals are classical models, judged on the same weeks. Shown means that the whole 95 %
    interval of the paired difference of AP lies below what is tolerated.
    """
    figures = Figures.from_metrics(challenger.metrics)
    rivals = [_non_inferiority(name, figures) for name in sorted(figures.over)]
    return (_chance(figures), *rivals)


def _chance(figures: Figures) -> Gate:
    compared = f"its AP is {figures.ap:.3f}, chance gives {figures.base_rate:.4f}"
    return Gate(name="chance", passed=figures.ap > figures.base_rate, figures=compared)


def _non_inferiority(rival: str, figures: Figures) -> Gate:
    found = figures.over[rival]
    worse = found.high < NON_INFERIORITY_MARGIN
    place = f"{'wholly' if worse else 'not wholly'} below {NON_INFERIORITY_MARGIN:+.2f}"
    interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}, {place}"
    compared = f"its AP minus {rival}'s is {found.difference:+.3f}, {interval}"
    return Gate(name=rival, passed=not worse, figures=compared)


def rollback(registry: Registry, portfolio: str) -> Promotion:
    """Bring back the version the champion took over from.

    Raises PromotionError when there is none.
    """
    before = registry.predecessor(portfolio)
    now = registry.version(portfolio, "champion")
    if before is None or now is None:
        nobody = f"the champion of portfolio {portfolio} took over from nobody"
        raise PromotionError(f"{nobody}; there is nothing to roll back to")
    set_alias(registry, portfolio, "champion", before)
    reason = f"version {now.number} is champion no more"
    return Promotion(version=before.number, allowed=True, reasons=(reason,))
