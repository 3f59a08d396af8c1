"""Reads the registry of an MLflow server by MLflow's client, which gives up after seconds.

How long it waits stands in MLFLOW_HTTP_REQUEST_TIMEOUT and MLFLOW_HTTP_REQUEST_MAX_RETRIES.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.failures import BrokenError
from pipeline.registry.model_version import BUNDLE, Version, model_name

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model, no such alias
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
AWAY = (MlflowException, OSError)  # requests' own errors are of OSError


def version_by_alias(uri: str, portfolio: str, alias: str) -> Version | None:
    """Return the version that an alias points to, if any."""
    with answering(uri):
        try:
            found = client(uri).get_model_version_by_alias(model_name(portfolio), alias)
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            return None
        return described(uri, found)


def version_by_number(uri: str, portfolio: str, number: str) -> Version:
    """Return a version by its number."""
    with answering(uri):
        return described(uri, client(uri).get_model_version(model_name(portfolio), number))


def download_bundle(uri: str, run_id: str, folder: Path) -> Path:
    """Download the bundle that a run has kept into a folder; returns where it lies there."""
    with answering(uri):
        found = mlflow.artifacts.download_artifacts(
            f"runs:/{run_id}/{BUNDLE}", dst_path=str(folder), tracking_uri=uri
        )
    return Path(found)


def described(uri: str, found: ModelVersion) -> Version:
    """The version with the figures it was registered with."""
    run_id = str(found.run_id)
    metrics = client(uri).get_run(run_id).data.metrics
    return Version(
        number=str(found.version), run_id=run_id, metrics=dict(metrics), tags=dict(found.tags)
    )


def client(uri: str) -> mlflow.MlflowClient:
    """MLflow's client for this server or file."""
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Say in one sentence that the server does not answer, and for how long it was waited for."""
    try:
        yield
    except AWAY as error:
        waited = f" within {seconds} s" if (seconds := os.environ.get(TIMEOUT)) else ""
        remedy = "start it, or correct MLFLOW_TRACKING_URI"
        raise BrokenError(f"the MLflow server {uri} gives no answer{waited}; {remedy}") from error
