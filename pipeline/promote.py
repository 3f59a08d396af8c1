"""Champion and challenger: who decides, who wants to, and why the change was or was not allowed."""

from dataclasses import dataclass

from pipeline.tracking import Tracking, Version

LEAST_OVER_BASELINE = -0.01  # AP that a challenger may lie below the best classical model on the same weeks


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Whether a version became champion, and the reasons in sentences."""

    version: str
    allowed: bool
    reasons: tuple[str, ...]


class PromotionError(ValueError):
    """There is nothing to promote or to roll back to."""


def promote(tracking: Tracking, portfolio: str) -> Promotion:
    """Make the challenger champion when its figures allow it. Raises PromotionError when there is no challenger."""
    challenger = tracking.version(portfolio, "challenger")
    if challenger is None:
        raise PromotionError(f"portfolio {portfolio} has no challenger; run strata train first")
    allowed, reasons = judge(challenger)
    if allowed:
        tracking.succeed(portfolio, challenger)
        tracking.drop_alias(portfolio, "challenger")
    return Promotion(version=challenger.number, allowed=allowed, reasons=reasons)


def judge(challenger: Version) -> tuple[bool, tuple[str, ...]]:
    """Hold the challenger's recorded figures against chance and against the classical models on the same weeks."""
    figures = challenger.metrics
    checks = [(figures["ap"] > figures["base_rate"], f"its AP is {figures['ap']:.3f}, chance gives {figures['base_rate']:.4f}")]
    for name in sorted(figures):
        if name.startswith("ap_over_") and name != "ap_over_chance" and not name.endswith(("_low", "_high")):
            low, high = figures[f"{name}_low"], figures[f"{name}_high"]
            told = f"its AP lies {figures[name]:+.3f} [{low:+.3f}, {high:+.3f}] from {name.removeprefix('ap_over_')}'s"
            checks.append((figures[name] >= LEAST_OVER_BASELINE, f"{told}; {LEAST_OVER_BASELINE:+.2f} is allowed"))
    reasons = tuple(f"{'yes' if passed else 'no'}: {told}" for passed, told in checks)
    return all(passed for passed, _ in checks), reasons


def rollback(tracking: Tracking, portfolio: str) -> Promotion:
    """Bring back the version the champion took over from. Raises PromotionError when there is none."""
    before = tracking.predecessor(portfolio)
    now = tracking.version(portfolio, "champion")
    if before is None or now is None:
        raise PromotionError(f"the champion of portfolio {portfolio} took over from nobody; there is nothing to roll back to")
    tracking.set_alias(portfolio, "champion", before)
    return Promotion(version=before.number, allowed=True, reasons=(f"version {now.number} is champion no more",))
