"""The model that decides: its version and its bundle."""

from dataclasses import dataclass

from pipeline.registry.bundle import Bundle, read_bundle
from pipeline.registry.versions import Registry


class RegistryError(ValueError):
    """The registry has no such version."""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The model that decides: its version in the registry and its bundle."""

    version: str
    bundle: Bundle


def load_champion(registry: Registry, portfolio: str) -> Champion:
    """Load the model that decides. Raises RegistryError when there is none."""
    found = registry.version(portfolio, "champion")
    if found is None:
        raise RegistryError(
            f"portfolio {portfolio} has no champion; run strata train and strata promote first"
        )
    with registry.bundle_folder(found) as folder:
        return Champion(version=found.number, bundle=read_bundle(folder))
