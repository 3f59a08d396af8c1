"""MLflow: what was tried, how it compared, and which version decides. The only file that knows MLflow.

One run a training, holding the comparison; under it one run a model. The registry has one model a portfolio, `strata-<name>`,
whose versions are bundles; the aliases `champion` and `challenger` say which decides and which wants to.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Literal

import mlflow
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.bundle import read_bundle, write_bundle
from pipeline.candidates import Candidate
from pipeline.export import export
from pipeline.models.layered.model import Layered
from pipeline.pictures import comparison_picture, depth_picture, learning_picture, responses_picture
from pipeline.score.score import Champion
from pipeline.train import Trained

Alias = Literal["champion", "challenger"]
BUNDLE, EXPORT = "bundle", "export"  # artifact folders of a run: its bundle, and the same for onnxruntime and for torch alone
PICTURES = (comparison_picture, depth_picture, learning_picture, responses_picture)
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
            mlflow.log_table(trained.stage_reliability.astype({"stage": object}), "stage_reliability.json")
            mlflow.log_table(trained.activations.astype({"model": object, "stage": object}), "activations.json")
            for draw in PICTURES:
                mlflow.log_text(draw(trained), f"{draw.__name__.removesuffix('_picture')}.svg")
            with tempfile.TemporaryDirectory() as folder:
                mlflow.log_artifacts(str(write_bundle(trained.bundle, Path(folder) / BUNDLE)), BUNDLE)
                mlflow.log_artifacts(str(export(trained.bundle, Path(folder) / EXPORT)), EXPORT)
            for candidate in trained.candidates.values():
                with mlflow.start_run(run_name=candidate.name, nested=True):
                    mlflow.log_params(candidate.settings)
                    mlflow.log_metrics(trained.metrics[candidate.name].as_dict() | {"fit_seconds": candidate.seconds})
                    self._log_curves(candidate)
            version = self._register(name, run.info.run_id)
        self.set_alias(name, "challenger", version)
        return self._version(version)

    def _log_curves(self, candidate: Candidate) -> None:
        """The learning curves of a network's seeds, a step an epoch."""
        curves = candidate.model.curves if isinstance(candidate.model, Layered) else ()
        moment = int(time() * 1000)
        points = [
            Metric(f"{name}_seed_{curve.seed}", value, moment, epoch + 1)
            for curve in curves
            for name, values in (("loss", curve.losses), ("held_out_ap", curve.precisions))
            for epoch, value in enumerate(values)
        ]
        if points and (run := mlflow.active_run()):
            self._client().log_batch(run.info.run_id, metrics=points)

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
    errors = {f"stage_ece_{name}": found.error for name, found in trained.stage_error.items()}
    return {**trained.bundle.metrics, **errors, **paired, **{f"stage_ap_{name}": ap for name, ap in trained.stage_ap.items()}}
