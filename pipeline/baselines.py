"""The classical side that the layered network is measured against: logistic regression and tuned gradient boosting.

Each learns from features, labels and accounts, says log-odds before calibration, and is kept in files that hold data only.
"""

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import xgboost
from sklearn.linear_model import LogisticRegression

from features.build import KEYS
from pipeline.arrays import BoolArray, FloatArray, IntArray
from pipeline.evaluation.metrics import average_precision, both_classes

Settings = dict[str, str | int | float]

FOLDS = 3
TUNING_ROWS = 50_000  # above it, legitimate rows are thinned while settings are chosen, and there only
Splits = Literal["exact", "fine", "coarse"]
SPLITS: Mapping[Splits, dict[str, object]] = {
    "exact": {"tree_method": "exact"},
    "fine": {"tree_method": "hist", "max_bin": 2048},
    "coarse": {"tree_method": "hist", "max_bin": 1024},
}
EXACT_VALUES = 4_500_000  # rows times columns; above it the trees that stay have fine splits
EXACT_TUNING_VALUES = 300_000  # above it trees that only choose settings have coarse ones


def as_frame(features: pa.Table) -> pd.DataFrame:
    """Features as the classical models take them: float64 columns with NaN, text columns with null; no KEYS."""
    return pd.DataFrame(features.drop_columns([name for name in KEYS if name in features.column_names]).to_pandas())


class Baseline(Protocol):
    """A classical model of fraud; `settings` holds what its fit chose, and on how much."""

    settings: Settings

    def fit(self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int) -> Self:
        """Learn from one row a transaction: float columns (NaN is missing), text columns (null is missing)."""
        ...

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Another model with the settings this one chose, learned from other rows."""
        ...

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds of fraud before calibration, one a row; raises ValueError where a column of the fit is missing."""
        ...

    def to_files(self, folder: Path) -> None:
        """Write everything logit() needs into an existing folder."""
        ...

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """The model that to_files() wrote."""
        ...


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns a model reads, and what each text column may say, the most frequent first."""

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def learn(cls, features: pd.DataFrame, *, most: int, least_rows: int) -> "Columns":
        """Every column of `features`; of a text column the `most` frequent values seen in `least_rows` rows or more."""
        texts = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
        return cls(
            numbers=tuple(str(name) for name in features if name not in texts),
            categories={str(name): _frequent(features[name], most=most, least_rows=least_rows) for name in texts},
        )

    def numbers_of(self, features: pd.DataFrame) -> FloatArray:
        """The numeric columns [rows, numbers], NaN where missing; raises ValueError for an absent column or infinity."""
        absent = [name for name in (*self.numbers, *self.categories) if name not in features]
        if absent:
            raise ValueError(f"the features lack {', '.join(absent)}; build them with the portfolio the model was trained on")
        values = features[list(self.numbers)].to_numpy(dtype=np.float64, na_value=np.nan)
        endless = (np.abs(values) > np.finfo(np.float32).max).any(axis=0)
        if endless.any():
            names = ", ".join(name for name, bad in zip(self.numbers, endless, strict=True) if bad)
            raise ValueError(f"the features hold infinite numbers in {names}; give a missing value instead")
        return values

    def codes_of(self, features: pd.DataFrame) -> FloatArray:
        """The text columns [rows, categories] as frequency ranks from 0; NaN where null, the next rank for a rarer value."""
        codes = np.empty((len(features), len(self.categories)))
        for place, (name, values) in enumerate(self.categories.items()):
            known = pd.Index(values, dtype="object").get_indexer(pd.Index(features[name].astype("object")))
            codes[:, place] = np.where(features[name].isna(), np.nan, np.where(known < 0, len(values), known))
        return codes

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "Columns":
        """What dataclasses.asdict() wrote."""
        numbers, categories = values["numbers"], values["categories"]
        if not isinstance(numbers, list) or not isinstance(categories, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the call
                "the file of a model's columns has no list of numbers and table of categories; export it again"
            )
        return cls(numbers=tuple(numbers), categories={name: tuple(known) for name, known in categories.items()})


def _frequent(column: "pd.Series[str]", *, most: int, least_rows: int) -> tuple[str, ...]:
    counts = column.value_counts().rename_axis("value").reset_index(name="rows")
    counts = counts[counts["rows"] >= least_rows].sort_values(["rows", "value"], ascending=[False, True])
    return tuple(counts["value"].astype("object").head(most))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The rows settings are chosen on, and the fold each is held out in; an account is in one fold alone."""

    rows: IntArray
    fold: IntArray
    usable: tuple[int, ...]  # folds with both classes inside and outside
    negatives_kept: float


def tuning_sample(fraud: BoolArray, accounts: npt.ArrayLike, *, seed: int, most_rows: int = TUNING_ROWS) -> Sample:
    """Deal accounts into folds, the defrauded ones evenly; keep all frauds and a share of the legitimate rows."""
    generator = np.random.default_rng(seed)
    share = float(np.clip((most_rows - fraud.sum()) / (~fraud).sum(), 0.1, 1.0))
    rows = np.flatnonzero(fraud | (generator.random(len(fraud)) < share))
    folds = account_folds(fraud, accounts, generator)
    fold, kept = folds[rows], fraud[rows]
    parts = {number: (kept[fold == number], kept[fold != number]) for number in range(FOLDS)}
    usable = tuple(n for n, two in parts.items() if all(part.any() and not part.all() for part in two))
    return Sample(rows=rows, fold=fold, usable=usable, negatives_kept=share)


def account_folds(fraud: BoolArray, accounts: npt.ArrayLike, generator: np.random.Generator) -> IntArray:
    """The fold of each row: accounts are dealt at random, the defrauded ones evenly, and none is divided."""
    account, names = pd.factorize(np.asarray(accounts))
    honest = np.bincount(account, weights=fraud, minlength=len(names)) == 0
    dealt = np.empty(len(names), dtype=np.int64)
    dealt[np.lexsort((generator.random(len(names)), honest))] = np.arange(len(names)) % FOLDS
    return np.asarray(dealt[account])


def out_of_fold(model: Baseline, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int) -> FloatArray:
    """The logits [R] that refits of a model give the accounts they did not learn from."""
    fraud = both_classes(y, rows=len(features))
    folds = account_folds(fraud, accounts, np.random.default_rng(seed))
    logits = np.empty(len(features))
    for number in range(FOLDS):
        apart = folds == number
        if not fraud[~apart].any():
            raise ValueError("all frauds are of one account, and no model can be judged on others; take a longer span")
        logits[apart] = model.refit(features[~apart], fraud[~apart]).logit(features[apart])
    return logits


@dataclass(frozen=True, kw_only=True)
class LinearInputs:
    """Features as a linear model takes them: signed log1p, standardised; what is missing; frequent categories one-hot."""

    columns: Columns
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def learn(cls, features: pd.DataFrame) -> "LinearInputs":
        """Means and scales over what is present; a constant or empty column keeps scale 1."""
        columns = Columns.learn(features, most=20, least_rows=20)
        logs = np.ma.masked_invalid(_signed_log(columns.numbers_of(features)))
        mean, scale = logs.mean(axis=0).filled(0.0), logs.std(axis=0).filled(1.0)
        return cls(columns=columns, mean=tuple(mean.tolist()), scale=tuple(np.where(scale > 1e-9, scale, 1.0).tolist()))

    def matrix(self, features: pd.DataFrame) -> FloatArray:
        """[rows, 2 * numbers + sum of categories and their nulls]."""
        numbers = (_signed_log(self.columns.numbers_of(features)) - self.mean) / self.scale
        codes = self.columns.codes_of(features)
        hot = [
            np.column_stack([codes[:, [place]] == np.arange(len(values) + 1), np.isnan(codes[:, place])])
            for place, values in enumerate(self.columns.categories.values())
        ]
        return np.column_stack([np.nan_to_num(numbers, nan=0.0), np.isnan(numbers), *hot]).astype(np.float64)


def _signed_log(values: FloatArray) -> FloatArray:
    return np.sign(values) * np.log1p(np.abs(values))


class Logistic:
    """Logistic regression with an L2 penalty whose strength is chosen by AP on held-out accounts."""

    STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C, its inverse

    def __init__(self) -> None:
        self.settings: Settings = {}
        self._inputs: LinearInputs | None = None
        self._weights = np.empty(0)
        self._intercept = 0.0

    def fit(self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int) -> Self:
        """Choose C on three folds of accounts, then fit on all rows."""
        fraud = both_classes(y, rows=len(features))
        self._inputs = LinearInputs.learn(features)
        matrix = self._inputs.matrix(features)
        sample = tuning_sample(fraud, accounts, seed=seed)
        tried = {c: self._held_out(matrix, fraud, sample, strength=c) for c in self.STRENGTHS} if sample.usable else {0.1: 0.0}
        best = max(tried, key=lambda c: tried[c])
        self._solve(matrix, fraud, strength=best)
        self.settings = {"C": best, **_facts(fraud, sample, ap=tried[best], seed=seed)}
        return self

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Fit other rows with the same penalty."""
        model = type(self)()
        model._inputs, model.settings = LinearInputs.learn(features), self.settings
        fraud = both_classes(y, rows=len(features))
        model._solve(model._inputs.matrix(features), fraud, strength=float(self.settings["C"]))
        return model

    def _solve(self, matrix: FloatArray, fraud: BoolArray, *, strength: float) -> None:
        model = _logistic(matrix, fraud, strength=strength)
        self._weights, self._intercept = model.coef_[0].astype(np.float64), float(model.intercept_[0])

    @staticmethod
    def _held_out(matrix: FloatArray, fraud: BoolArray, sample: Sample, *, strength: float) -> float:
        inputs, kept, found = matrix[sample.rows], fraud[sample.rows], []
        for number in sample.usable:
            train, test = sample.fold != number, sample.fold == number
            model = _logistic(inputs[train], kept[train], strength=strength)
            found.append(average_precision(kept[test], model.decision_function(inputs[test])))
        return float(np.mean(found))

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds before calibration."""
        if self._inputs is None:
            raise ValueError("the logistic regression has not learned yet; call fit or from_files first")
        return np.asarray(self._inputs.matrix(features) @ self._weights + self._intercept)

    def to_files(self, folder: Path) -> None:
        """Write logistic.json."""
        if self._inputs is None:
            raise ValueError("the logistic regression has not learned yet; call fit first")
        kept = {"inputs": asdict(self._inputs), "weights": self._weights.tolist(), "intercept": self._intercept}
        _write(folder / "logistic.json", {**kept, "settings": self.settings})

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """Read logistic.json."""
        kept = json.loads((folder / "logistic.json").read_text(encoding="utf-8"))
        model = cls()
        inputs = kept["inputs"]
        columns = Columns.from_json(inputs["columns"])
        model._inputs = LinearInputs(columns=columns, mean=tuple(inputs["mean"]), scale=tuple(inputs["scale"]))
        model._weights, model._intercept = np.asarray(kept["weights"], dtype=np.float64), float(kept["intercept"])
        model.settings = kept["settings"]
        return model


def _logistic(matrix: FloatArray, fraud: BoolArray, *, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, solver="newton-cholesky", max_iter=200).fit(matrix, fraud)  # many rows, few columns


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How trees are grown; `trees` is how many are taken of those grown."""

    depth: int
    rate: float
    trees: int
    min_child_weight: float = 1.0
    reg_lambda: float = 1.0

    def booster_settings(self, *, seed: int, splits: Splits) -> dict[str, object]:
        """The same in xgboost's words."""
        shape = {"max_depth": self.depth, "eta": self.rate}
        restraint = {"min_child_weight": self.min_child_weight, "lambda": self.reg_lambda}
        return {"objective": "binary:logistic", "base_score": 0.5, "seed": seed, **shape, **restraint, **SPLITS[splits]}


class XGBoost:
    """Gradient boosting (xgboost) whose trees are chosen by AP on held-out accounts.

    The choice: depth 3, 4 or 6 with 100, 150 or 200 trees at rate 0.1; then rate 0.05 with 200, 300 or 400; then child weight
    5 or lambda 10. Why splits differ with size (Handbook data, later weeks, base_score 0.5): 67,000 rows, 29 features, 100
    trees of depth 3, mean AP of four folds: exact .739, histograms of 2048 bins .736, of the default 256 bins .719; 268,000
    rows, 200 trees of depth 4, two folds: exact .7352, 8192 bins .7343, 2048 bins .7322. On 50,000 rows and 88 features of
    the simulated world 100 exact trees of depth 6 take 18.7 s of one core, with 1024 bins 2.1 s, and AP is the same.
    """

    def __init__(self) -> None:
        self.settings: Settings = {}
        self._columns: Columns | None = None
        self._booster = xgboost.Booster()

    def fit(self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int) -> Self:
        """Choose how trees grow on three folds of accounts, then grow them on all rows."""
        fraud = both_classes(y, rows=len(features))
        self._columns = Columns.learn(features, most=1000, least_rows=5)
        matrix = self._matrix(features)
        sample = tuning_sample(fraud, accounts, seed=seed)
        best, ap = tuned_growth(matrix, fraud, sample, seed=seed)
        splits: Splits = "exact" if matrix.size <= EXACT_VALUES else "fine"
        self._grow(matrix, fraud, best, seed=seed, splits=splits)
        self.settings = {**asdict(best), "splits": splits, **_facts(fraud, sample, ap=ap, seed=seed)}
        return self

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Grow as many trees the same way on other rows."""
        model = type(self)()
        model._columns, model.settings = Columns.learn(features, most=1000, least_rows=5), self.settings
        growth = Growth(**{name: self.settings[name] for name in Growth.__dataclass_fields__})  # type: ignore[arg-type]
        splits = cast(Splits, self.settings["splits"])
        model._grow(
            model._matrix(features), both_classes(y, rows=len(features)), growth, seed=int(self.settings["seed"]), splits=splits
        )
        return model

    def _grow(self, matrix: npt.NDArray[np.float32], fraud: BoolArray, growth: Growth, *, seed: int, splits: Splits) -> None:
        data = xgboost.DMatrix(matrix, label=fraud)
        self._booster = xgboost.train(growth.booster_settings(seed=seed, splits=splits), data, growth.trees)

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds before calibration."""
        data = xgboost.DMatrix(self._matrix(features))
        return np.asarray(self._booster.predict(data, output_margin=True), dtype=np.float64)

    def to_files(self, folder: Path) -> None:
        """Write xgboost.ubj, the native booster, and xgboost.json, the columns it reads."""
        columns = self._fitted()
        self._booster.save_model(folder / "xgboost.ubj")
        _write(folder / "xgboost.json", {"columns": asdict(columns), "settings": self.settings})

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """Read xgboost.ubj and xgboost.json."""
        kept = json.loads((folder / "xgboost.json").read_text(encoding="utf-8"))
        model = cls()
        model._columns, model.settings = Columns.from_json(kept["columns"]), kept["settings"]
        model._booster.load_model(folder / "xgboost.ubj")
        return model

    def _matrix(self, features: pd.DataFrame) -> npt.NDArray[np.float32]:
        columns = self._fitted()
        return np.column_stack([columns.numbers_of(features), columns.codes_of(features)]).astype(np.float32)

    def _fitted(self) -> Columns:
        if self._columns is None:
            raise ValueError("the gradient boosting has not learned yet; call fit or from_files first")
        return self._columns


def tuned_growth(matrix: npt.NDArray[np.float32], fraud: BoolArray, sample: Sample, *, seed: int) -> tuple[Growth, float]:
    """The growth of the best held-out AP, and that AP: each choice is made on the best before."""
    if not sample.usable:  # frauds of one account alone: nothing to hold out
        return Growth(depth=3, rate=0.1, trees=100), 0.0
    inputs, kept = matrix[sample.rows], fraud[sample.rows]
    held_out = [sample.fold == number for number in sample.usable]
    parts = [(xgboost.DMatrix(inputs[~out], label=kept[~out]), xgboost.DMatrix(inputs[out]), kept[out]) for out in held_out]
    splits: Splits = "exact" if inputs.size <= EXACT_TUNING_VALUES else "coarse"
    tried: dict[Growth, float] = {}

    def attempt(growth: Growth, counts: tuple[int, ...]) -> None:
        settings = growth.booster_settings(seed=seed, splits=splits) | {"nthread": 1}

        def held_out_ap(part: tuple[xgboost.DMatrix, xgboost.DMatrix, BoolArray]) -> list[float]:
            train, test, truth = part
            booster = xgboost.train(settings, train, max(counts))
            scores = [booster.predict(test, iteration_range=(0, count), output_margin=True) for count in counts]
            return [average_precision(truth, score) for score in scores]

        with ThreadPoolExecutor(os.cpu_count()) as folds:
            found = list(folds.map(held_out_ap, parts))  # a fold a thread: threads inside a tree wait for one another
        for count, ap in zip(counts, np.mean(found, axis=0), strict=True):
            tried[replace(growth, trees=count)] = float(ap)

    for depth in (3, 4, 6):
        attempt(Growth(depth=depth, rate=0.1, trees=200), (100, 150, 200))
    best = max(tried, key=lambda growth: tried[growth])
    attempt(replace(best, rate=0.05), (200, 300, 400))
    best = max(tried, key=lambda growth: tried[growth])
    for regular in (replace(best, min_child_weight=5.0), replace(best, reg_lambda=10.0)):
        attempt(regular, (best.trees,))
    best = max(tried, key=lambda growth: tried[growth])
    return best, tried[best]


BASELINES: Mapping[str, type[Baseline]] = {"logistic": Logistic, "xgboost": XGBoost}


def _facts(fraud: BoolArray, sample: Sample, *, ap: float, seed: int) -> Settings:
    counts: Settings = {"rows": len(fraud), "frauds": int(fraud.sum()), "folds": len(sample.usable), "seed": seed}
    return {**counts, "held_out_ap": ap, "negatives_kept": sample.negatives_kept}


def _write(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
