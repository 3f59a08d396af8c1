"""MLflow: what was tried, how it compared, and which version decides. The only file that knows MLflow.

One run a training, holding the comparison; under it one run a model. The registry has one model a portfolio, `strata-<name>`,
whose versions are bundles; the aliases `champion` and `challenger` say which decides and which wants to.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.bundle import read_bundle, write_bundle
from pipeline.pictures import comparison_picture, depth_picture, learning_picture
from pipeline.score import Champion
from pipeline.train import Trained

Alias = Literal["champion", "challenger"]
BUNDLE = "bundle"  # the artifact folder of a run that holds its bundle
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
class Tracking:
    """The tracking server or sqlite file at `uri`; the artifacts of a local one lie under `artifacts`."""

    uri: str
    artifacts: Path

    def record(self, trained: Trained) -> Version:
        """Record a training with its comparison, and register its bundle as the challenger."""
        name = trained.bundle.portfolio
        with self._experiment(name), mlflow.start_run(run_name=f"train {trained.as_of:%Y-%m-%d %H:%M}") as run:
            mlflow.log_params(_facts(trained))
            mlflow.log_metrics(_figures(trained))
            table = trained.table.reset_index()
            mlflow.log_table(table.astype({"model": object, "reference": object}), "comparison.json")  # MLflow 3 knows no str
            mlflow.log_text(table.to_html(index=False, float_format="{:.4f}".format), "comparison.html")
            for draw in (comparison_picture, depth_picture, learning_picture):
                mlflow.log_text(draw(trained), f"{draw.__name__.removesuffix('_picture')}.svg")
            with tempfile.TemporaryDirectory() as folder:
                mlflow.log_artifacts(str(write_bundle(trained.bundle, Path(folder) / BUNDLE)), BUNDLE)
            for candidate in trained.candidates.values():
                with mlflow.start_run(run_name=candidate.name, nested=True):
                    mlflow.log_params(candidate.settings)
                    mlflow.log_metrics(trained.metrics[candidate.name].as_dict() | {"fit_seconds": candidate.seconds})
            version = self._register(name, run.info.run_id)
        self.set_alias(name, "challenger", version)
        return self._version(version)

    def version(self, portfolio: str, alias: Alias) -> Version | None:
        """The version an alias points to, if any."""
        try:
            return self._version(self._client().get_model_version_by_alias(_model(portfolio), alias))
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            return None

    def champion(self, portfolio: str) -> Champion:
        """Load the model that decides. Raises RegistryError when there is none."""
        found = self.version(portfolio, "champion")
        if found is None:
            raise RegistryError(f"portfolio {portfolio} has no champion; run strata train and strata promote first")
        with tempfile.TemporaryDirectory() as folder:
            where = self._artifacts(found.run_id, Path(folder))
            return Champion(version=found.number, bundle=read_bundle(where))

    def set_alias(self, portfolio: str, alias: Alias, version: ModelVersion | Version) -> None:
        """Let the alias point to a version."""
        number = version.number if isinstance(version, Version) else version.version
        self._client().set_registered_model_alias(_model(portfolio), alias, str(number))

    def drop_alias(self, portfolio: str, alias: Alias) -> None:
        """Let the alias point nowhere."""
        self._client().delete_registered_model_alias(_model(portfolio), alias)

    def succeed(self, portfolio: str, version: Version) -> None:
        """Make the version champion and note on it which one it took over from; done again, it changes nothing."""
        before = self.version(portfolio, "champion")
        if before is not None and before.number != version.number:
            self._client().set_model_version_tag(_model(portfolio), version.number, PREVIOUS, before.number)
        self.set_alias(portfolio, "champion", version)

    def predecessor(self, portfolio: str) -> Version | None:
        """The version that the champion took over from, if any."""
        now = self.version(portfolio, "champion")
        if now is None:
            return None
        number = self._client().get_model_version(_model(portfolio), now.number).tags.get(PREVIOUS)
        return None if number is None else self._version(self._client().get_model_version(_model(portfolio), number))

    def _client(self) -> "mlflow.MlflowClient":
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def _experiment(self, portfolio: str) -> Iterator[None]:
        """Point MLflow's module-level functions at our server and experiment."""
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        name = f"strata-{portfolio}"
        if mlflow.get_experiment_by_name(name) is None:
            local = self.uri.startswith("sqlite:")
            mlflow.create_experiment(name, artifact_location=(self.artifacts / name).as_uri() if local else None)
        mlflow.set_experiment(name)
        yield

    def _register(self, portfolio: str, run_id: str) -> ModelVersion:
        client = self._client()
        if not client.search_registered_models(filter_string=f"name = '{_model(portfolio)}'"):
            client.create_registered_model(_model(portfolio), description=f"Bundles of the layered network for {portfolio}")
        return client.create_model_version(_model(portfolio), source=f"runs:/{run_id}/{BUNDLE}", run_id=run_id)

    def _version(self, found: ModelVersion) -> Version:
        run_id = str(found.run_id)
        metrics = self._client().get_run(run_id).data.metrics
        return Version(number=str(found.version), run_id=run_id, metrics=dict(metrics))

    def _artifacts(self, run_id: str, folder: Path) -> Path:
        return Path(
            mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{BUNDLE}", dst_path=str(folder), tracking_uri=self.uri)
        )


def _model(portfolio: str) -> str:
    return f"strata-{portfolio}"


def _facts(trained: Trained) -> dict[str, str | int]:
    split = trained.split
    spans = {name: getattr(split, name).isoformat() for name in ("train_from", "train_until", "test_from", "test_until")}
    counts = {"train_rows": trained.train_rows, "train_frauds": trained.train_frauds}
    return {
        **spans,
        **counts,
        "feature_digest": trained.bundle.feature_digest,
        "stages": ", ".join(trained.bundle.model.stages),
    }


def _figures(trained: Trained) -> dict[str, float]:
    paired = {
        f"ap_over_{name}{part}": value
        for name, d in trained.differences.items()
        for part, value in (("", d.difference), ("_low", d.low), ("_high", d.high))
    }
    return {**trained.bundle.metrics, **paired, **{f"stage_ap_{name}": ap for name, ap in trained.stage_ap.items()}}
