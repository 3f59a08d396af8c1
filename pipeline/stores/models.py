"""Whether the registered models are this home's: each carries its id as a tag.

An MLflow server may serve several homes. A model of before has no tag, and is nobody else's.
"""

from collections.abc import Callable

from pipeline.registry.model_version import HOME
from pipeline.registry.versions import Registry
from pipeline.stores.agreement import StoresError

ADOPT = "or run the command again with --adopt"


def check_owner(
    registry: Registry, portfolio: str, *, adopt: bool, tell: Callable[[str], None]
) -> None:
    """Raise StoresError where the champion is another home's, unless it is adopted."""
    champion = registry.version(portfolio, "champion")
    owner = None if champion is None else champion.tags.get(HOME)
    if champion is None or owner in {None, registry.home}:
        return
    if not adopt:
        raise StoresError(
            f"version {champion.number} of portfolio {portfolio} in {registry.uri} is of another "
            f"home; set MLFLOW_TRACKING_URI to the registry of this one, {ADOPT} to let the "
            "version decide here"
        )
    from pipeline.registry.changes import take_on  # noqa: PLC0415 - MLflow is slow

    take_on(registry, portfolio, champion)
    tell(f"adopted version {champion.number} of portfolio {portfolio}: it decides in this home")


def take_empty(registry: Registry, *, adopt: bool, tell: Callable[[str], None]) -> None:
    """Raise StoresError, as the registry's file is gone, unless an empty one is to take over."""
    if not adopt:
        raise StoresError(
            f"{registry.file} is gone, and {registry.artifacts} has models; put its backup back, "
            f"{ADOPT} to begin without a model"
        )
    from pipeline.registry.changes import make_file  # noqa: PLC0415 - MLflow is slow

    make_file(registry)
    tell(f"{registry.file} is made anew, without a model: run strata train and strata promote")
