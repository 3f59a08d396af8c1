"""A home of an earlier release, brought forward: each store in one step, which may be repeated."""

from collections.abc import Iterator

from pipeline.disk.turns import is_made
from pipeline.registry.bundle import BundleError
from pipeline.registry.champion import RegistryError, load_champion
from pipeline.registry.changes import mend
from pipeline.registry.schema import bring_forward as bring_tables_forward
from pipeline.registry.versions import Registry
from pipeline.stores.agreement import Agreement


def bring_forward(agreement: Agreement, registry: Registry) -> Iterator[str]:
    """Bring databases to the shape of this release; says of each store how it is now.

    Raises BrokenError where one cannot be brought forward, ValueError where a newer release made
    it.
    """
    if agreement.is_expected:
        agreement.open().dispose()
        yield "casework database: as this release has it"
    if registry.file is not None and is_made(registry.file):
        is_older = bring_tables_forward(registry.file)
        mend(registry)
        yield f"registry: {'brought forward' if is_older else 'as this release has it'}"
    for portfolio in agreement.portfolios:
        yield f"portfolio {portfolio}: {_told(registry, portfolio)}"


def _told(registry: Registry, portfolio: str) -> str:
    try:
        return f"version {load_champion(registry, portfolio).version} decides"
    except (BundleError, RegistryError) as error:
        return str(error)
