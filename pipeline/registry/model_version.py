"""One version in the registry: its number, its run and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BUNDLE = "bundle"  # artifact folder of a run
HOME = "strata_home"  # tag of a version: the id of the home it was trained in
PREVIOUS = "previous_champion"  # tag of a champion: the version it took over from


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version in the registry: its number, its run, and the figures it was registered with."""

    number: str
    run_id: str
    metrics: dict[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)


def model_name(portfolio: str) -> str:
    """The registry's model of a portfolio; its experiment has the same name."""
    return f"strata-{portfolio}"
