"""The classical models by name."""

from collections.abc import Mapping

from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.baselines.logistic import Logistic
from pipeline.models.baselines.protocol import Baseline

BASELINES: Mapping[str, type[Baseline]] = {"logistic": Logistic, "xgboost": XGBoost}
