"""The model that decides: its version and its bundle."""

from dataclasses import dataclass

from pipeline.failures import BrokenError
from pipeline.registry.bundle import MANIFEST, Bundle, BundleError, read_bundle
from pipeline.registry.versions import Registry

PUT_BACK = (
    "put its folder back from a backup, or run strata rollback, or strata train and strata promote"
)


class RegistryError(ValueError):
    """The registry has no such version."""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The model that decides: its version in the registry and its bundle."""

    version: str
    bundle: Bundle


def load_champion(registry: Registry, portfolio: str) -> Champion:
    """Load the model that decides.

    Raises RegistryError when there is none, BrokenError when its bundle is cut or gone, BundleError
    when another release made it.
    """
    found = registry.version(portfolio, "champion")
    if found is None:
        raise RegistryError(
            f"portfolio {portfolio} has no champion; run strata train and strata promote first"
        )
    which = f"version {found.number} of portfolio {portfolio}"
    with registry.bundle_folder(found) as folder:
        if not (folder / MANIFEST).is_file():
            raise BrokenError(f"{which} is gone from {folder}; {PUT_BACK}")
        try:
            return Champion(version=found.number, bundle=read_bundle(folder))
        except BundleError as error:
            problem, _, _ = str(error).rpartition("; ")
            if isinstance(error, BrokenError):
                raise BrokenError(f"{which} is broken: {problem}; {PUT_BACK}") from error
            raise BundleError(
                f"{which} was made by another release of Strata, as {problem}; run strata train "
                "and strata promote"
            ) from error
