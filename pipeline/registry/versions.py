"""MLflow: what was tried, how it compared, and which version decides. The only file that knows MLflow.

One run a training, holding the comparison; under it one run a model. The registry has one model a
portfolio, `strata-<name>`, whose versions are bundles; the aliases `champion` and `challenger` say
which decides and which wants to.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.registry.bundle import read_bundle
from pipeline.registry.champion import Champion

Alias = Literal["champion", "challenger"]
BUNDLE = "bundle"  # artifact folder of a run
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model, no such alias
PREVIOUS = "previous_champion"  # tag of a champion: the version it took over from


class RegistryError(ValueError):
    """The registry has no such version."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version in the registry: its number, its run, and the figures it was registered with."""

    number: str
    run_id: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Registry:
    """The registry server or sqlite file at `uri`.

    The artifacts of a local one lie under `artifacts`.
    """

    uri: str
    artifacts: Path

    def version(self, portfolio: str, alias: Alias) -> Version | None:
        """The version an alias points to, if any."""
        try:
            return self.described(
                self.client().get_model_version_by_alias(_model(portfolio), alias)
            )
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            return None

    def champion(self, portfolio: str) -> Champion:
        """Load the model that decides. Raises RegistryError when there is none."""
        found = self.version(portfolio, "champion")
        if found is None:
            raise RegistryError(
                f"portfolio {portfolio} has no champion; run strata train and strata promote first"
            )
        with tempfile.TemporaryDirectory() as folder:
            where = self._artifacts(found.run_id, Path(folder))
            return Champion(version=found.number, bundle=read_bundle(where))

    def set_alias(self, portfolio: str, alias: Alias, version: ModelVersion | Version) -> None:
        """Let the alias point to a version."""
        number = version.number if isinstance(version, Version) else version.version
        self.client().set_registered_model_alias(_model(portfolio), alias, str(number))

    def drop_alias(self, portfolio: str, alias: Alias) -> None:
        """Let the alias point nowhere."""
        self.client().delete_registered_model_alias(_model(portfolio), alias)

    def succeed(self, portfolio: str, version: Version) -> None:
        """Make the version champion and note on it which one it took over from.

        Done again, it changes nothing.
        """
        before = self.version(portfolio, "champion")
        if before is not None and before.number != version.number:
            self.client().set_model_version_tag(
                _model(portfolio), version.number, PREVIOUS, before.number
            )
        self.set_alias(portfolio, "champion", version)

    def predecessor(self, portfolio: str) -> Version | None:
        """The version that the champion took over from, if any."""
        now = self.version(portfolio, "champion")
        if now is None:
            return None
        number = self.client().get_model_version(_model(portfolio), now.number).tags.get(PREVIOUS)
        return (
            None
            if number is None
            else self.described(self.client().get_model_version(_model(portfolio), number))
        )

    def client(self) -> "mlflow.MlflowClient":
        """MLflow's client for this server."""
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def register(self, portfolio: str, run_id: str) -> ModelVersion:
        """Make a version of the bundle that a run has kept."""
        client = self.client()
        if not client.search_registered_models(filter_string=f"name = '{_model(portfolio)}'"):
            client.create_registered_model(
                _model(portfolio), description=f"Bundles of the layered network for {portfolio}"
            )
        return client.create_model_version(
            _model(portfolio), source=f"runs:/{run_id}/{BUNDLE}", run_id=run_id
        )

    def described(self, found: ModelVersion) -> Version:
        """A version with the figures it was registered with."""
        run_id = str(found.run_id)
        metrics = self.client().get_run(run_id).data.metrics
        return Version(number=str(found.version), run_id=run_id, metrics=dict(metrics))

    def _artifacts(self, run_id: str, folder: Path) -> Path:
        return Path(
            mlflow.artifacts.download_artifacts(
                f"runs:/{run_id}/{BUNDLE}", dst_path=str(folder), tracking_uri=self.uri
            )
        )


def _model(portfolio: str) -> str:
    return f"strata-{portfolio}"
