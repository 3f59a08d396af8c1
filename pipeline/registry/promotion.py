"""Champion and challenger: who decides, who wants to, and why the change was or was not allowed."""

from dataclasses import dataclass

from pipeline.registry.versions import Registry, Version

NON_INFERIORITY_MARGIN = (
    -0.01
    # AP below a classical model on the same weeks; whose whole interval lies lower is shown to be worse
)


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Whether a version became champion, and the reasons in sentences."""

    version: str
    allowed: bool
    reasons: tuple[str, ...]


class PromotionError(ValueError):
    """There is nothing to promote or to roll back to."""


def promote(registry: Registry, portfolio: str) -> Promotion:
    """Make the challenger champion when its figures allow it. Raises PromotionError when there is no challenger."""
    challenger = registry.version(portfolio, "challenger")
    if challenger is None:
        raise PromotionError(f"portfolio {portfolio} has no challenger; run strata train first")
    allowed, reasons = gates(challenger)
    if allowed:
        registry.succeed(portfolio, challenger)
        registry.drop_alias(portfolio, "challenger")
    return Promotion(version=challenger.number, allowed=allowed, reasons=reasons)


def gates(challenger: Version) -> tuple[bool, tuple[str, ...]]:
    """Refuse a challenger that is no better than chance, or shown to be worse than a classical model on the same weeks.

    Shown means that the whole 95 % interval of the paired difference of AP lies below what is
    tolerated.
    """
    figures = challenger.metrics
    checks = [
        (
            figures["ap"] > figures["base_rate"],
            f"its AP is {figures['ap']:.3f}, chance gives {figures['base_rate']:.4f}",
        )
    ]
    for name in sorted(figures):
        if name.startswith("ap_over_") and f"{name}_high" in figures:
            low, high = figures[f"{name}_low"], figures[f"{name}_high"]
            worse = high < NON_INFERIORITY_MARGIN
            interval = f"95 % interval {low:+.3f} to {high:+.3f}, {'wholly' if worse else 'not wholly'} below {NON_INFERIORITY_MARGIN:+.2f}"
            checks.append(
                (
                    not worse,
                    f"its AP minus {name.removeprefix('ap_over_')}'s is {figures[name]:+.3f}, {interval}",
                )
            )
    reasons = tuple(f"{'yes' if passed else 'no'}: {told}" for passed, told in checks)
    return all(passed for passed, _ in checks), reasons


def rollback(registry: Registry, portfolio: str) -> Promotion:
    """Bring back the version the champion took over from. Raises PromotionError when there is none."""
    before = registry.predecessor(portfolio)
    now = registry.version(portfolio, "champion")
    if before is None or now is None:
        raise PromotionError(
            f"the champion of portfolio {portfolio} took over from nobody; there is nothing to roll back to"
        )
    registry.set_alias(portfolio, "champion", before)
    return Promotion(
        version=before.number, allowed=True, reasons=(f"version {now.number} is champion no more",)
    )
