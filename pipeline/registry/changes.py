"""What changes the registry: a version made, an alias moved. MLflow does it."""

import mlflow
from mlflow.entities.model_registry import ModelVersion

from pipeline.disk.turns import make_whole
from pipeline.failures import BrokenError
from pipeline.registry import addresses, schema, server
from pipeline.registry.model_version import BUNDLE, HOME, PREVIOUS, Version, model_name
from pipeline.registry.sqlite_file import UPGRADE
from pipeline.registry.versions import Alias, Registry


def open_client(registry: Registry) -> mlflow.MlflowClient:
    """MLflow's client; a file is made if need be, and one that came from elsewhere is mended.

    Raises BrokenError where another release of MLflow made the file.
    """
    make_file(registry)
    if registry.file is not None and not schema.is_newest(registry.file):
        raise BrokenError(f"{registry.file} was made by another release of MLflow; {UPGRADE}")
    client = server.client(registry.uri)
    mend(registry)
    return client


def make_file(registry: Registry) -> None:
    """Make MLflow's file whole, where there is none yet."""
    if registry.file is None:
        return
    registry.file.parent.mkdir(parents=True, exist_ok=True)
    make_whole(registry.file, schema.make_tables, what=f"the making of {registry.file}")


def mend(registry: Registry) -> None:
    """Make the addresses of artifacts relative, where file and artifacts move together."""
    if registry.file is not None and registry.is_in_home and registry.file.exists():
        addresses.make_relative(registry.file, registry.artifacts.name)


def register(registry: Registry, portfolio: str, run_id: str, *, about: str = "") -> Version:
    """Make a version of the bundle that a run has kept, and say what it is `about`."""
    client, name = open_client(registry), model_name(portfolio)
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name, description=f"Bundles for {portfolio}")
    made: ModelVersion = client.create_model_version(
        name,
        source=f"runs:/{run_id}/{BUNDLE}",
        run_id=run_id,
        description=about,
        tags={HOME: registry.home} if registry.home else None,
    )
    return server.described(registry.uri, made)


def take_on(registry: Registry, portfolio: str, version: Version) -> None:
    """Let a version belong to the registry's home from now on."""
    client = open_client(registry)
    client.set_model_version_tag(model_name(portfolio), version.number, HOME, registry.home)


def set_alias(registry: Registry, portfolio: str, alias: Alias, version: Version) -> None:
    """Let the alias point to a version."""
    client = open_client(registry)
    client.set_registered_model_alias(model_name(portfolio), alias, version.number)


def drop_alias(registry: Registry, portfolio: str, alias: Alias) -> None:
    """Let the alias point nowhere."""
    open_client(registry).delete_registered_model_alias(model_name(portfolio), alias)


def succeed(registry: Registry, portfolio: str, version: Version) -> None:
    """Make the version champion and note on it which one it took over from.

    Done again, it changes nothing.
    """
    before = registry.version(portfolio, "champion")
    if before is not None and before.number != version.number:
        open_client(registry).set_model_version_tag(
            model_name(portfolio), version.number, PREVIOUS, before.number
        )
    set_alias(registry, portfolio, "champion", version)
