"""The classical models by name."""

from collections.abc import Mapping

from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.baselines.forest import Forest
from pipeline.models.baselines.leafwise import LightGBM
from pipeline.models.baselines.logistic import Logistic
from pipeline.models.baselines.oblivious import CatBoost
from pipeline.models.baselines.protocol import Baseline

KINDS: tuple[type[Baseline], ...] = (Logistic, Forest, XGBoost, LightGBM, CatBoost)
BASELINES: Mapping[str, type[Baseline]] = {kind.name: kind for kind in KINDS}
