"""What a training leaves in MLflow: one run with the comparison, and under it one run a model."""

import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from time import time

import mlflow
from mlflow.data.delta_dataset_source import DeltaDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric

from pipeline.export.export import export
from pipeline.models.layered.model import Layered
from pipeline.progress import SILENT, Progress
from pipeline.registry.bundle import write_bundle
from pipeline.registry.changes import mend, open_client, register, set_alias
from pipeline.registry.figures import Difference, difference_metrics
from pipeline.registry.model_version import BUNDLE, Version, model_name
from pipeline.registry.versions import Registry
from pipeline.train.candidates import Candidate
from pipeline.train.figures import (
    comparison_figure,
    depth_figure,
    history_figure,
    learning_figure,
    partial_dependence_figure,
)
from pipeline.train.report import Trained

EXPORT = "export"  # artifact folder of a run: its bundle for onnxruntime and for torch alone
KIND = "mlflow.experimentKind"  # that of ours opens on the list of runs
FIGURES = (
    comparison_figure,
    depth_figure,
    history_figure,
    learning_figure,
    partial_dependence_figure,
)


def record(registry: Registry, trained: Trained, *, progress: Progress = SILENT) -> Version:
    """Record a training with its comparison, and register its bundle as the challenger."""
    name = trained.bundle.portfolio
    with (
        progress.step("recording"),
        _experiment(registry, name),
        mlflow.start_run(run_name=f"train {trained.as_of:%Y-%m-%d %H:%M}") as run,
    ):
        mlflow.log_params(_facts(trained))
        mlflow.log_metrics(_figures(trained))
        for used in trained.data_used:
            source = DeltaDatasetSource(
                path=_place(registry, used.uri), delta_table_version=used.version
            )
            rows = MetaDataset(  # type: ignore[abstract]  # as MLflow's own example makes one
                source, name=f"{name} {used.purpose}", digest=used.digest
            )
            mlflow.log_input(rows, context=used.purpose)
        mlflow.log_text("\n".join(trained.data), "data_report.txt")
        table = trained.table.reset_index()
        # MLflow 3 knows no str
        mlflow.log_table(table.astype({"model": object, "reference": object}), "comparison.json")
        mlflow.log_text(table.to_html(index=False, float_format="{:.4f}".format), "comparison.html")
        mlflow.log_table(
            trained.stage_reliability.astype({"stage": object}), "stage_reliability.json"
        )
        mlflow.log_table(
            trained.activations.astype({"model": object, "stage": object}), "activations.json"
        )
        for draw in FIGURES:
            mlflow.log_text(draw(trained), f"{draw.__name__.removesuffix('_figure')}.svg")
        with tempfile.TemporaryDirectory() as folder:
            mlflow.log_artifacts(str(write_bundle(trained.bundle, Path(folder) / BUNDLE)), BUNDLE)
            mlflow.log_artifacts(str(export(trained.bundle, Path(folder) / EXPORT)), EXPORT)
        for candidate in trained.candidates.values():
            with mlflow.start_run(run_name=candidate.name, nested=True):
                mlflow.log_params(candidate.settings)
                mlflow.log_metrics(
                    trained.metrics[candidate.name].as_dict() | {"fit_seconds": candidate.seconds}
                )
                _log_curves(registry, candidate)
        version = register(registry, name, run.info.run_id, about=_sentence(trained))
    set_alias(registry, name, "challenger", version)
    return version


def _log_curves(registry: Registry, candidate: Candidate) -> None:
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
        open_client(registry).log_batch(run.info.run_id, metrics=points)


@contextmanager
def _experiment(registry: Registry, portfolio: str) -> Iterator[None]:
    """Point MLflow's module-level functions at our server and experiment.

    Artifacts' addresses are relative to the home, and MLflow resolves them in the working folder.
    """
    open_client(registry)
    mlflow.set_tracking_uri(registry.uri)
    mlflow.set_registry_uri(registry.uri)
    with chdir(registry.artifacts.parent) if registry.is_in_home else nullcontext():
        name = model_name(portfolio)
        if mlflow.get_experiment_by_name(name) is None:
            local = (registry.artifacts / name).as_uri() if registry.file else None
            mlflow.create_experiment(name, artifact_location=local)
            mend(registry)
        mlflow.set_experiment(name)
        mlflow.set_experiment_tags({KIND: "custom_model_development"})
        yield


def _place(registry: Registry, uri: str) -> str:
    """Where a table lies; what lies in the home is named from there, so that the home can move."""
    home = registry.artifacts.parent
    return uri.removeprefix(f"{home}/") if registry.is_in_home else uri


def _sentence(trained: Trained) -> str:
    """What a version is, for whoever opens it in MLflow."""
    chosen = trained.recommendation
    return (
        f"{chosen.model}, recommended: {chosen.reason}. AP {trained.metrics[chosen.model].ap:.3f} "
        f"on {trained.split.test_from:%Y-%m-%d} to {trained.split.test_until:%Y-%m-%d}."
    )


def _facts(trained: Trained) -> dict[str, str | int]:
    split = trained.split
    spans = {
        name: getattr(split, name).isoformat()
        for name in ("train_from", "train_until", "test_from", "test_until")
    }
    counts = {"train_rows": trained.train_rows, "train_frauds": trained.train_frauds}
    return {
        **spans,
        **counts,
        "feature_digest": trained.bundle.feature_digest,
        "recommended": trained.recommendation.model,
        "why": trained.recommendation.reason,
        **{f"history_{curve.model}": curve.verdict for curve in trained.learning_curves},
        "stages": ", ".join(trained.bundle.model.stages),
    }


def _figures(trained: Trained) -> dict[str, float]:
    paired: dict[str, float] = {}
    for name, d in trained.over.items():
        paired |= difference_metrics(
            name, Difference(difference=d.difference, low=d.low, high=d.high)
        )
    errors = {f"stage_ece_{name}": found.error for name, found in trained.stage_error.items()}
    return {
        **trained.bundle.metrics,
        **errors,
        **paired,
        **{f"stage_ap_{name}": ap for name, ap in trained.stage_ap.items()},
    }
