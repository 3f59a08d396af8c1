"""What is done with a score: which accounts of a day are worth an analyst's minutes, and which a hand-written rule names."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from pipeline.arrays import FloatArray
from pipeline.portfolio import Review, Rule

# SQL reads the clock by these words too, which parse as columns.
CLOCK_WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The economics of a review, from [review] of the portfolio, in its currency; `least_gain` is learned.

    >>> Policy.from_json(Policy(capacity_per_day=50).to_json()).capacity_per_day
    50
    """

    capacity_per_day: int
    minutes: float = 3.0
    cost: float = 0.0
    friction_cost: float = 0.0
    recovered_share: float = 1.0
    least_gain: float = 0.0  # an alert's expected gain lies above it

    def __post_init__(self) -> None:
        if self.capacity_per_day < 1:
            raise ValueError(f"capacity_per_day must be at least 1, not {self.capacity_per_day}; set it in [review]")
        if not 0 <= self.recovered_share <= 1:
            raise ValueError(f"recovered_share must lie in 0..1, not {self.recovered_share}; set it in [review], 0.6 for 60 %")
        for name in ("minutes", "cost", "friction_cost", "least_gain"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a number of 0 or more, not {getattr(self, name)}; set it in [review]")

    def expected_loss(self, probability: npt.ArrayLike, amount: npt.ArrayLike) -> FloatArray:
        """What is lost on average when nobody looks."""
        return np.asarray(probability, dtype=np.float64) * np.asarray(amount, dtype=np.float64)

    def expected_gain(self, probability: npt.ArrayLike, amount: npt.ArrayLike) -> FloatArray:
        """What a review saves on average: the loss recovered, less the review, less the friction for an honest customer.

        >>> Policy(capacity_per_day=1, cost=2, friction_cost=5, recovered_share=0.5).expected_gain([0.8], [100])
        array([37.])
        """
        honest = 1 - np.asarray(probability, dtype=np.float64)
        return self.expected_loss(probability, amount) * self.recovered_share - self.cost - honest * self.friction_cost

    def to_json(self) -> dict[str, float]:
        """The numbers by name, as a bundle keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, float]) -> "Policy":
        """The policy that to_json() described; raises ValueError for a name it does not know."""
        if set(values) != set(cls.__dataclass_fields__):
            raise ValueError(
                f"a policy has {sorted(cls.__dataclass_fields__)}, found {sorted(values)}; export the bundle again"
            )
        numbers = {name: float(value) for name, value in values.items() if name != "capacity_per_day"}
        return cls(capacity_per_day=int(values["capacity_per_day"]), **numbers)

    @classmethod
    def of(cls, review: Review) -> "Policy":
        """The economics a portfolio states, before anything is learned."""
        return cls(**asdict(review))


def choose(scored: pd.DataFrame, *, policy: Policy, already_alerted: pd.DataFrame) -> pd.DataFrame:
    """The rows to alert, riskiest first: per UTC day of as_of the accounts of highest gain, no more than the capacity.

    `scored` has transaction_id, account_id, as_of, amount, probability, and may have `rules` (see rules_hit).
    `already_alerted` has account_id and day (UTC midnight), a row for each account alerted on a day before this batch:
    they count in the day's capacity, and their further transactions join without taking more of it. So a day scored in
    batches never raises more accounts than one scored at once.
    A row is worth a review if its gain lies above `policy.least_gain`, or a rule named it. An account stands in a day's order
    by its best row; accounts a rule named come first. Returned are the worthwhile rows of the chosen accounts with day,
    expected_loss, expected_gain and rules.
    """
    rows = _worthwhile(scored, policy)
    alerted = already_alerted[["account_id", "day"]].drop_duplicates()
    taken = alerted.groupby("day").size()
    best = rows.groupby(["day", "account_id"], as_index=False).agg({"ruled": "max", "expected_gain": "max"})
    best = best.merge(alerted.assign(known=True), on=["account_id", "day"], how="left")
    best["known"] = best["known"].notna()
    best = best.sort_values(
        ["day", "known", "ruled", "expected_gain", "account_id"], ascending=[True, True, False, False, True], kind="stable"
    )
    place = best.groupby("day").cumcount()  # among the day's accounts that are new, as known ones come last
    free = policy.capacity_per_day - best["day"].map(taken).fillna(0)
    chosen = best.loc[best["known"] | (place < free), ["day", "account_id"]]
    flagged = rows.merge(chosen, on=["day", "account_id"], validate="many_to_one")
    order = ["day", "ruled", "expected_gain", "transaction_id"]
    return flagged.sort_values(order, ascending=[True, False, False, True]).drop(columns="ruled").reset_index(drop=True)


def learn_least_gain(scored: pd.DataFrame, *, policy: Policy) -> Policy:
    """The policy whose `least_gain` lets through, on these days together, as many accounts a day as the capacity.

    Without it the first batch of a day would fill the capacity with the little it has, before the day's worst arrive.
    Learned where the calibration is, on days after training.
    """
    rows = _worthwhile(scored.drop(columns="rules", errors="ignore"), replace(policy, least_gain=0.0))
    gains = np.sort(rows.groupby(["day", "account_id"])["expected_gain"].max().to_numpy())[::-1]
    room = policy.capacity_per_day * scored["as_of"].dt.floor("D").nunique()
    return replace(policy, least_gain=float(gains[room]) if len(gains) > room else 0.0)


def _worthwhile(scored: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    rows = scored.assign(
        day=scored["as_of"].dt.floor("D"),
        expected_loss=policy.expected_loss(scored["probability"], scored["amount"]),
        expected_gain=policy.expected_gain(scored["probability"], scored["amount"]),
        rules=scored["rules"] if "rules" in scored else pd.Series(None, index=scored.index, dtype="string"),
    )
    rows["ruled"] = rows["rules"].notna()
    return rows[rows["ruled"] | (rows["expected_gain"] > policy.least_gain)]


def rules_hit(rules: Mapping[str, Rule], facts: pd.DataFrame) -> pd.Series:
    """For each row of `facts` the names of the rules that hold, joined by ", "; null where none does.

    A condition that is null for a row does not hold. It may only look at its own row, so that a batch's size changes nothing:
    no subquery, aggregate, window, clock or chance. No file or network is reachable from it.
    Called with no rows, it still refuses a wrong rule.

    >>> facts = pd.DataFrame({"amount": [10.0, 9000.0]})
    >>> rules_hit({"huge": Rule(when="amount > 5000")}, facts).tolist()
    [<NA>, 'huge']
    """
    names = np.full(len(facts), "", dtype=object)
    with _sealed(facts) as database:
        for name, rule in rules.items():
            hits = _rows_hit(database, name, rule.when, columns=[str(column) for column in facts])
            names[hits] = np.where(names[hits] == "", name, names[hits] + f", {name}")
    return pd.Series(names, index=facts.index, dtype="string", name="rules").mask(names == "")


def _sealed(facts: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    """An in-memory database that holds `facts` alone and can be opened to nothing else."""
    sealed: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "python_enable_replacements": "false",
    }
    database = duckdb.connect(":memory:", config=sealed)
    numbered = facts.reset_index(drop=True).assign(row_of_facts=np.arange(len(facts)))
    database.register("facts", pa.Table.from_pandas(numbered, preserve_index=False))
    database.execute("SET lock_configuration = true")
    return database


def _rows_hit(database: duckdb.DuckDBPyConnection, name: str, when: str, *, columns: list[str]) -> npt.NDArray[np.int64]:
    _refuse_more_than_a_condition(database, name, when, columns=columns)
    hits_of = f"SELECT row_of_facts FROM facts WHERE (\n{when}\n)"  # noqa: S608 - the user's own condition, parsed above
    kind_of = f"DESCRIBE SELECT (\n{when}\n) FROM facts"  # noqa: S608 - as above
    try:
        hits = database.execute(hits_of).fetchnumpy()["row_of_facts"]
        kind = database.execute(kind_of).fetchall()[0][1]
    except duckdb.Error as error:
        raise _refused(name, when, _first_sentence(error), remedy=f"the columns are {', '.join(columns)}") from error
    if kind != "BOOLEAN":
        raise _refused(name, when, f"it gives a {kind}, not true or false", remedy="compare it with something")
    return np.asarray(hits, dtype=np.int64)


def _refuse_more_than_a_condition(database: duckdb.DuckDBPyConnection, name: str, when: str, *, columns: list[str]) -> None:
    one = "write one condition over the columns of one transaction, such as amount > 5000"
    if not when.strip() or ";" in when:
        raise _refused(name, when, "it is not one condition" if when.strip() else "it is empty", remedy=one)
    text = database.execute("SELECT json_serialize_sql(?)", [f"SELECT {when}"]).fetchall()[0][0]
    tree = json.loads(text)
    if tree["error"]:
        raise _refused(name, when, str(tree["error_message"]), remedy=one)
    volatile = database.execute("SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'").fetchall()
    found = _nodes(tree["statements"])
    parts = [str(node.get("class", "")) for node in found]
    if "SUBQUERY" in parts or "WINDOW" in parts or "STAR" in parts or _is_a_query(tree["statements"]):
        raise _refused(name, when, "it looks beyond its own row", remedy=one)
    called = {str(node.get("function_name")) for node in found}
    named = {str(name).lower() for node in found for name in _list(node.get("column_names"))} - {
        str(c).lower() for c in columns
    }
    changing = sorted(called & {function for (function,) in volatile} | named & CLOCK_WORDS)
    if changing:
        raise _refused(name, when, f"{', '.join(changing)} gives another answer each time", remedy=one)


def _is_a_query(statements: list[dict[str, dict[str, object]]]) -> bool:
    """Whether `SELECT <condition>` parsed into more than one bare expression."""
    node = statements[0]["node"]
    bare = node["type"] == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY"  # type: ignore[index]
    more = [node.get(part) for part in ("modifiers", "where_clause", "group_expressions", "having", "qualify", "sample")]
    return len(statements) != 1 or not bare or any(more) or len(node["select_list"]) != 1  # type: ignore[arg-type]


def _nodes(tree: object) -> list[dict[str, object]]:
    """Every object of a JSON tree."""
    if isinstance(tree, list):
        return [node for part in tree for node in _nodes(part)]
    if isinstance(tree, dict):
        return [tree, *(node for part in tree.values() for node in _nodes(part))]
    return []


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _first_sentence(error: duckdb.Error) -> str:
    return " ".join(str(error).split("\n\n")[0].split("\n")[0].split())


def _refused(name: str, when: str, why: str, *, remedy: str) -> ValueError:
    return ValueError(f"[rules.{name}] when = {when!r} cannot be used: {why.rstrip('.!')}; {remedy}")
