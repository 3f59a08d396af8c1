"""Scoring: each transaction once and for good, in batches of any size, whenever it is killed."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import pipeline.score.alerts
import pipeline.score.score
from features.declarations import fact
from features.encoder import GroupCode
from pipeline.casework import RaisedAlerts, raise_alerts
from pipeline.explanation.reasons import in_words
from pipeline.failures import explain
from pipeline.flagged import FlaggedTransaction
from pipeline.lake.commits import LakeBusyError
from pipeline.lake.snapshot import NoDataError
from pipeline.lake.tables import Lake
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.portfolio_tables import Rule
from pipeline.registry.bundle import BundleError
from pipeline.registry.champion import Champion
from pipeline.score.score import score_rows
from tests.pipeline.lake.test_faults import room_for
from tests.small_world import AS_OF, NOW, Desk, World

DAY = timedelta(days=1)
NOT_COMPARED = ["batch", "scored_at"]  # say when a row was scored, not what was said of it
KILLED = OSError("killed")


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Desk:
    return Desk.open(world, tmp_path / "desk")


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Everything scored by one run."""
    desk = Desk.open(world, tmp_path_factory.mktemp("undisturbed") / "desk")
    desk.score()
    return desk


@pytest.fixture(scope="module")
def day_by_day(world: World, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Everything scored by one run a day."""
    desk = Desk.open(world, tmp_path_factory.mktemp("day_by_day") / "desk")
    for day in range(1, 8):
        desk.score(until=AS_OF + day * DAY)
    desk.score()
    return desk


def assert_same_scores(desk: Desk, other: Desk, *, rows: Sequence[str] | None = None) -> None:
    """Equal scores, whatever the batches (law 7: to 1e-5)."""
    left, right = (one.scores.drop(columns=NOT_COMPARED) for one in (desk, other))
    if rows is not None:
        left, right = left.loc[list(rows)], right.loc[list(rows)]
    pd.testing.assert_frame_equal(left, right, rtol=0, atol=1e-5)


def killed_once(monkeypatch: pytest.MonkeyPatch, room: object, name: str) -> None:
    """Let the next call of a function fail, as if the process had been killed there."""

    def fail(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise KILLED

    monkeypatch.setattr(room, name, fail)


def greedy(world: World, *, capacity: int) -> Champion:
    """A champion whose every score is worth a review, with little room in a day."""
    bundle = world.trained.bundle
    policy = replace(
        bundle.policy, capacity_per_day=capacity, cost=0.0, friction_cost=0.0, least_gain=0.0
    )
    return Champion(version="1", bundle=replace(bundle, policy=policy))


def test_all_that_stands_after_the_training_is_scored_once(world: World, undisturbed: Desk) -> None:
    assert list(undisturbed.scores.index) == sorted(world.unscored["transaction_id"].to_pylist())
    assert len(undisturbed.scores) > 300


def test_what_is_stored_adds_up_and_is_the_champions_probability(
    world: World, undisturbed: Desk
) -> None:
    scores = undisturbed.scores
    stages = scores[["stage_amount", "stage_clock", "stage_retailer", "stage_classical"]]
    assert (scores["base"] + stages.sum(axis=1) - scores["logit"]).abs().max() < 1e-5
    np.testing.assert_allclose(
        scores["score"], world.trained.bundle.calibration.probability(scores["logit"])
    )
    assert set(scores["model_version"]) == {"1"}
    assert (scores["scored_at"] == NOW).all()


def test_scoring_again_changes_nothing(undisturbed: Desk) -> None:
    scores, alerted, version = (
        undisturbed.scores,
        undisturbed.alerted,
        undisturbed.lake.version("scores"),
    )
    again = undisturbed.score()
    assert (again.scored, again.alerts) == (0, RaisedAlerts(new_alerts=0, added=0, already=0))
    assert undisturbed.lake.version("scores") == version
    pd.testing.assert_frame_equal(undisturbed.scores, scores)
    assert undisturbed.alerted == alerted


def test_batches_of_any_size_give_the_scores_of_one(day_by_day: Desk, undisturbed: Desk) -> None:
    # the last has what came late on the seventh day
    assert day_by_day.scores["batch"].nunique() == 8
    assert_same_scores(day_by_day, undisturbed)


@pytest.mark.parametrize("seed", [1, 2])
def test_cuts_at_any_moment_give_the_scores_of_one(
    desk: Desk, undisturbed: Desk, seed: int
) -> None:
    random = np.random.default_rng(seed)
    moments = desk.world.unscored["as_of"].to_pylist()
    for place in sorted(random.choice(len(moments), 3, replace=False)):
        desk.score(until=moments[place])  # the row at the very moment is not before it
        assert len(desk.scores) == sum(moment < moments[place] for moment in moments)
    desk.score()
    assert_same_scores(desk, undisturbed)


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (Lake, "append"),
        (pipeline.score.score, "score_rows"),
        (pipeline.score.alerts, "choose"),
        (pipeline.score.alerts, "raise_alerts"),
    ],
    ids=[
        "before the scores are kept",
        "while scoring",
        "before the choice",
        "between scores and alerts",
    ],
)
def test_a_killed_run_is_finished_by_the_next(
    desk: Desk, undisturbed: Desk, monkeypatch: pytest.MonkeyPatch, room: object, name: str
) -> None:
    killed_once(monkeypatch, room, name)
    with pytest.raises(OSError, match="killed"):
        desk.score()
    assert desk.alerted == {}
    desk.score()
    assert_same_scores(desk, undisturbed)
    assert desk.alerted == undisturbed.alerted != {}


def test_killed_after_the_alerts_nothing_is_raised_twice(
    desk: Desk, undisturbed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:

    def then_killed(*given: object, **more: object) -> None:
        raise_alerts(*given, **more)  # type: ignore[arg-type]
        monkeypatch.undo()
        raise KILLED

    monkeypatch.setattr(pipeline.score.alerts, "raise_alerts", then_killed)
    with pytest.raises(OSError, match="killed"):
        desk.score()
    assert desk.score().alerts == RaisedAlerts(new_alerts=0, added=0, already=0)
    assert desk.alerted == undisturbed.alerted


def test_batches_left_without_alerts_are_gone_through_one_by_one(
    desk: Desk, day_by_day: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the scores on two of the days: the days raise what they raise undisturbed."""
    for day in range(1, 8):
        if day in {2, 3}:
            killed_once(monkeypatch, pipeline.score.alerts, "raise_alerts")
            with pytest.raises(OSError, match="killed"):
                desk.score(until=AS_OF + day * DAY)
        else:
            desk.score(until=AS_OF + day * DAY)
    assert desk.alerted == day_by_day.alerted


def test_alerts_that_wait_are_raised_whatever_until_says(
    desk: Desk, undisturbed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_once(monkeypatch, pipeline.score.alerts, "raise_alerts")
    with pytest.raises(OSError, match="killed"):
        desk.score()
    assert desk.score(until=AS_OF + DAY).alerts.new_alerts == len(undisturbed.alerted)
    assert desk.alerted == undisturbed.alerted


def test_rows_that_come_in_later_are_scored_and_rewrite_nothing(
    world: World, undisturbed: Desk, tmp_path: Path
) -> None:
    """Every tenth row, the very first among them, is taken in only after the rest was scored."""
    rows = world.transactions
    places = np.flatnonzero(
        pc.greater_equal(rows["as_of"], pa.scalar(AS_OF, rows["as_of"].type)).to_numpy()
    )[::10]
    later = np.isin(np.arange(rows.num_rows), places)
    desk = Desk.open(world, tmp_path / "desk", transactions=rows.filter(pa.array(~later)))
    desk.score()
    before = desk.scores
    desk.add(rows.filter(pa.array(later)))
    assert desk.score().scored == len(places)
    pd.testing.assert_frame_equal(desk.scores.loc[before.index], before)
    assert list(desk.scores.index) == list(undisturbed.scores.index)


def test_a_late_row_is_scored_as_of_its_arrival(
    world: World, undisturbed: Desk, tmp_path: Path
) -> None:
    """Without the rows that came late, all that was known before they came scores the same."""
    late = world.unscored.filter(pc.field("as_of") > pc.field("event_time"))
    assert late.num_rows > 1
    last = late.slice(late.num_rows - 1).to_pylist()[0]
    others = world.transactions.filter(pc.field("transaction_id") != last["transaction_id"])
    desk = Desk.open(world, tmp_path / "desk", transactions=others)
    desk.score()
    scores = undisturbed.scores
    in_between = (scores["as_of"] > last["event_time"]) & (scores["as_of"] < last["as_of"])
    assert in_between.any()
    assert_same_scores(desk, undisturbed, rows=list(scores.index[scores["as_of"] < last["as_of"]]))


def test_scoring_goes_on_from_where_the_first_champion_began(world: World, tmp_path: Path) -> None:
    """Late rows are still scored.

    The first two come in after a scoring, and after a younger champion took over.
    """
    rows = world.unscored
    desk = Desk.open(world, tmp_path / "desk", transactions=rows.slice(2))
    desk.score()
    desk.add(rows.slice(0, 2))
    younger = replace(world.trained.bundle, trained_as_of=AS_OF + 3 * DAY)
    assert desk.score(champion=Champion(version="2", bundle=younger)).scored == 2
    assert list(desk.scores["model_version"].loc[rows["transaction_id"][:2].to_pylist()]) == [
        "2",
        "2",
    ]


def test_a_new_champion_says_nothing_new_of_what_was_scored(desk: Desk, undisturbed: Desk) -> None:
    desk.score(until=AS_OF + 3 * DAY)
    before = desk.scores
    other = Champion(
        version="2",
        bundle=replace(desk.world.trained.bundle, calibration=PlattScaling(a=0.5, b=-1.0)),
    )
    desk.score(champion=other)
    pd.testing.assert_frame_equal(desk.scores.loc[before.index], before)
    assert set(desk.scores["model_version"]) == {"1", "2"}
    assert len(desk.scores) == len(undisturbed.scores)


def test_two_runs_at_the_same_time_score_nothing_twice(
    desk: Desk, undisturbed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run does it all between our reading and our append: ours is refused.

    So it is where writers take no turns: in an object store.
    """

    def overtaken(*given: object, **more: object) -> object:
        monkeypatch.undo()
        desk.score()
        return score_rows(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.score.score, "looked_after", nullcontext)
    monkeypatch.setattr(pipeline.score.score, "score_rows", overtaken)
    with pytest.raises(
        LakeBusyError, match="written to by another process at the same time; run the command again"
    ):
        desk.score()
    assert_same_scores(desk, undisturbed)
    assert desk.alerted == undisturbed.alerted


@pytest.mark.parametrize("hours", [24, 17], ids=["a batch a day", "batches across days"])
def test_a_day_raises_no_more_accounts_than_its_capacity(desk: Desk, hours: int) -> None:
    champion = greedy(desk.world, capacity=2)
    moment = AS_OF
    while moment < AS_OF + 8 * DAY:
        moment += timedelta(hours=hours)
        desk.score(champion=champion, until=moment)
    flagged = desk.scores.loc[[one for rows in desk.alerted.values() for one in rows]]
    accounts = flagged.groupby(flagged["as_of"].dt.floor("D"))["account_id"].nunique()
    assert accounts.max() == 2
    assert len(accounts) == 8


def test_a_day_that_is_full_stays_full_for_rows_that_come_later(
    world: World, tmp_path: Path
) -> None:
    rows, champion = world.unscored, greedy(world, capacity=2)
    desk = Desk.open(world, tmp_path / "desk", transactions=rows.slice(40))
    desk.score(champion=champion)
    accounts = set(desk.alerted)
    desk.add(rows.slice(0, 40))
    desk.score(champion=champion)
    flagged = desk.scores.loc[[one for found in desk.alerted.values() for one in found]]
    assert flagged.groupby(flagged["as_of"].dt.floor("D"))["account_id"].nunique().max() == 2
    assert accounts <= set(desk.alerted)


def test_what_was_scored_reaches_the_analyst(desk: Desk) -> None:
    champion = greedy(desk.world, capacity=50)
    desk.score(champion=champion)
    scores = desk.scores
    known = desk.world.transactions.to_pandas().set_index("transaction_id")
    flagged = [one for case in desk.cases for one in case.transactions]
    assert len(flagged) > 100
    amount_paid, amount_facts = fact("amount_paid", "amount", "amount", unit="currency"), 0
    for one in flagged:
        row = scores.loc[one.transaction_id]
        assert (one.score, one.logit, one.base) == (row["score"], row["logit"], row["base"])
        assert one.expected_loss == pytest.approx(row["score"] * row["amount"])
        assert (one.account_id, one.event_time) == (row["account_id"], row["event_time"])
        assert one.currency == known.loc[one.transaction_id, "currency"]
        assert {stage.group: stage.increment for stage in one.stages} == {
            name: row[f"stage_{name}"] for name in ("amount", "clock", "retailer", "classical")
        }
        paid = [
            one_fact.text
            for stage in one.stages
            for one_fact in stage.facts
            if one_fact.name == "amount_paid"
        ]
        assert all(text.startswith(in_words(amount_paid, one.amount)) for text in paid)
        amount_facts += len(paid)
    assert amount_facts > 10


def test_reasons_tell_what_is_usual_and_the_nearest_confirmed_cases(
    world: World, undisturbed: Desk, day_by_day: Desk
) -> None:
    flagged, again = (
        {one.transaction_id: one for case in desk.cases for one in case.transactions}
        for desk in (undisturbed, day_by_day)
    )
    texts = [fact.text for one in flagged.values() for stage in one.stages for fact in stage.facts]
    assert any(", usually " in text for text in texts)
    assert any(text.endswith(" in most payments") for text in texts)
    confirmed = set(world.trained.bundle.cases.facts["transaction_id"].to_pylist())
    for one in flagged.values():
        assert len({case.transaction_id for case in one.nearest} & confirmed) == 3
        assert [case.distance for case in one.nearest] == sorted(
            case.distance for case in one.nearest
        )
    both = flagged.keys() & again.keys()
    assert len(both) > 5
    for name in both:
        assert _texts(flagged[name]) == _texts(again[name])
        assert [one.transaction_id for one in flagged[name].nearest] == [
            one.transaction_id for one in again[name].nearest
        ]


def _texts(one: FlaggedTransaction) -> set[str]:
    return {fact.text for stage in one.stages for fact in stage.facts}


def test_a_rule_over_columns_and_features_raises_an_alert(desk: Desk) -> None:
    rules = {
        "online": Rule(when="channel = 'online' AND amount_paid > 150"),
        "none": Rule(when="amount < 0"),
    }
    quiet = replace(desk.world.trained.bundle.policy, cost=10_000.0, capacity_per_day=1000)
    champion = Champion(version="1", bundle=replace(desk.world.trained.bundle, policy=quiet))
    desk.score(champion=champion, portfolio=replace(desk.world.portfolio, rules=rules))
    known = desk.world.unscored.to_pandas().set_index("transaction_id")
    hit = known.index[(known["channel"] == "online") & (known["amount"] > 150)]
    flagged = {one.transaction_id: one.rules for case in desk.cases for one in case.transactions}
    assert flagged == dict.fromkeys(hit, ("online",))
    assert len(hit) > 0


def test_a_batch_that_raises_nothing_is_done_with(desk: Desk) -> None:
    quiet = replace(desk.world.trained.bundle.policy, cost=10_000.0)
    champion = Champion(version="1", bundle=replace(desk.world.trained.bundle, policy=quiet))
    done = desk.score(champion=champion, portfolio=replace(desk.world.portfolio, rules={}))
    assert done.scored > 0
    assert done.alerts == RaisedAlerts(new_alerts=0, added=0, already=0)
    assert desk.score().alerts.new_alerts == 0, "a batch is not chosen from a second time"


def test_alerts_of_an_earlier_champion_keep_its_stages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored by a champion with a stage "social", finished by a champion that has none.

    The first run was killed before the alerts.
    """
    bundle = desk.world.trained.bundle
    before = Champion(
        version="7", bundle=replace(bundle, model=_with_stage(bundle.model, "social"))
    )
    killed_once(monkeypatch, pipeline.score.alerts, "raise_alerts")
    with pytest.raises(OSError, match="killed"):
        desk.score(champion=before)
    desk.score()
    flagged = [one for case in desk.cases for one in case.transactions]
    assert flagged
    for one in flagged:
        assert [stage.group for stage in one.stages] == [
            "amount",
            "clock",
            "retailer",
            "classical",
            "social",
        ]
        assert one.base + sum(stage.increment for stage in one.stages) == pytest.approx(
            one.logit, abs=1e-5
        )
        assert one.model_version == "7"


def _with_stage(model: Layered, name: str) -> Layered:
    """The same model with a further group, which says nothing yet."""
    group = GroupCode(name=name, numbers=model.encoder.groups[0].numbers[:1], categories=())
    encoder = replace(model.encoder, groups=(*model.encoder.groups, group))
    networks = tuple(
        LayeredNetwork(encoder, base_logit=-4.0, config=model.shape).eval() for _ in model.networks
    )
    for network, trained in zip(networks, model.networks, strict=True):
        network.load_state_dict(trained.state_dict(), strict=False)
    return replace(model, encoder=encoder, networks=networks)


def test_a_champion_of_other_features_is_refused(desk: Desk) -> None:
    other = Champion(
        version="3", bundle=replace(desk.world.trained.bundle, feature_digest="0123456789abcdef")
    )
    with pytest.raises(
        BundleError,
        match=r"version 3 of world .* 0123456789abcdef, .*way windows are computed has changed",
    ):
        desk.score(champion=other)
    assert not desk.lake.exists("scores")


def test_a_champion_of_other_groups_is_told_what_differs(desk: Desk) -> None:
    portfolio = replace(desk.world.portfolio, order=("amount", "retailer"))
    gone = r"\(clock_hour_sine, clock_hour_cosine, .* more are gone\); run strata train and strata"
    with pytest.raises(BundleError, match=gone):
        desk.score(portfolio=portfolio)


def test_nothing_is_scored_before_the_champions_moment(desk: Desk) -> None:
    assert desk.score(until=AS_OF).scored == 0
    assert desk.lake.count("scores") == 0


def test_an_empty_lake_is_refused(world: World, tmp_path: Path) -> None:
    desk = Desk(
        world=world,
        lake=Lake(str(tmp_path), "world"),
        casework=Desk.open(world, tmp_path / "desk").casework,
    )
    with pytest.raises(NoDataError, match="portfolio world has no transactions; run strata ingest"):
        desk.score()


@pytest.mark.parametrize("size", [0, 8_000, 64_000])
def test_where_the_disk_is_full_a_sentence_says_so_and_the_next_run_is_complete(
    desk: Desk, undisturbed: Desk, size: int
) -> None:
    with room_for(size), pytest.raises(Exception, match=r"\w") as raised:
        desk.score()
    failure = explain(raised.value)
    assert (failure.code, failure.is_expected) == (4, True), failure.sentence
    assert "; " in failure.sentence
    desk.score()
    assert_same_scores(desk, undisturbed)
    assert desk.alerted == undisturbed.alerted


def test_a_home_may_lie_in_any_folder(world: World, undisturbed: Desk, tmp_path: Path) -> None:
    desk = Desk.open(world, tmp_path / "Müller's files [1] 50% #2")
    desk.score()
    assert_same_scores(desk, undisturbed)
