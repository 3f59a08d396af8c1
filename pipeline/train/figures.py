"""Pictures of a training as SVG text.

They show how the models compare, what each stage adds and has learned of its numbers, and how.
"""

from collections.abc import Callable
from io import StringIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.models.layered.diagnostics import partial_dependence
from pipeline.train.candidates import LAYERED
from pipeline.train.report import Trained

INK, ACCENT, SOFT = "#1f2933", "#1d5fa8", "#9fb3c8"


def comparison_figure(trained: Trained) -> str:
    """Average precision of each model on the test weeks, beside what chance gives."""
    table = trained.table.iloc[::-1]

    def draw(axes: Axes) -> None:
        axes.barh(
            list(table.index),
            table["ap"],
            color=[ACCENT if name == LAYERED else SOFT for name in table.index],
        )
        for place, value in enumerate(table["ap"]):
            axes.text(value, place, f" {value:.3f}", va="center", color=INK)
        axes.axvline(float(table["base_rate"].iloc[0]), color=INK, linestyle=":", linewidth=1)
        axes.set_xlabel(f"average precision ({_test(trained)}; dotted: chance)")

    return _svg(draw, height=0.6 + 0.5 * len(table))


def depth_figure(trained: Trained) -> str:
    """Average precision after each stage."""
    names, values = list(trained.stage_ap), list(trained.stage_ap.values())

    def draw(axes: Axes) -> None:
        axes.plot(range(len(names)), values, marker="o", color=ACCENT)
        for place, value in enumerate(values):
            axes.annotate(
                f"{value:.3f}",
                (place, value),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                color=INK,
            )
        numbered = [f"{place + 1}. {name}" for place, name in enumerate(names)]
        axes.set_xticks(
            range(len(names)), numbered, rotation=30, ha="right", rotation_mode="anchor"
        )
        axes.set_ylim(0, max(values) * 1.2 + 0.01)
        axes.set_ylabel("average precision so far")
        axes.set_xlabel(f"stages, each with all before it ({_test(trained)})")

    return _svg(draw, height=3.2)


def learning_figure(trained: Trained) -> str:
    """Average precision on the held-out accounts after each epoch, one line a seed."""
    curves = [
        curve
        for candidate in trained.candidates.values()
        for curve in getattr(candidate.model, "curves", ())
    ]

    def draw(axes: Axes) -> None:
        for curve in curves:
            axes.plot(
                range(1, len(curve.precisions) + 1),
                curve.precisions,
                marker=".",
                label=f"seed {curve.seed}",
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel("average precision, held-out accounts")
        if curves:
            axes.legend(frameon=False)

    return _svg(draw, height=3.2)


def history_figure(trained: Trained) -> str:
    """Average precision on the last days by how many days before them were learned from."""

    def draw(axes: Axes) -> None:
        for curve in trained.learning_curves:
            days, aps = zip(*((point.days, point.ap) for point in curve.points), strict=True)
            color = ACCENT if curve.model == LAYERED else SOFT
            axes.plot(days, aps, marker="o", color=color, label=curve.model)
        axes.set_xlabel("days learned from, the latest ones")
        axes.set_ylabel("average precision, last days")
        if trained.learning_curves:
            axes.set_xscale("log")
            axes.legend(frameon=False)

    return _svg(draw, height=3.2)


def partial_dependence_figure(trained: Trained) -> str:
    """What each stage has learned of its numbers.

    Drawn are the three that move its increment most, while all else is typical.
    """
    table = partial_dependence(trained.candidates[LAYERED].layered)
    panels = [(name, rows) for name, rows in table.groupby("stage", sort=False)]

    def draw(figure: Figure) -> None:
        for place, (name, rows) in enumerate(panels):
            axes = figure.add_subplot(-(-len(panels) // 3), 3, place + 1)
            span = rows.groupby("feature", sort=False)["increment"].agg(
                lambda values: values.max() - values.min()
            )
            for feature in span.nlargest(3).index:
                own = rows[rows["feature"] == feature]
                axes.plot(
                    np.linspace(0, 1, len(own)), own["increment"], label=feature, linewidth=1.2
                )
            axes.set_title(str(name), fontsize=9)
            axes.legend(frameon=False, fontsize=6)
            axes.tick_params(labelsize=7)
        figure.supxlabel("from the least value to the greatest, by the network's knots", fontsize=8)
        figure.supylabel("log-odds added", fontsize=8)

    return _drawn(draw, height=0.6 + 2.2 * -(-len(panels) // 3))


def _test(trained: Trained) -> str:
    layered, split = trained.metrics[LAYERED], trained.split
    span = f"{split.test_from:%d %b} to {split.test_until:%d %b %Y}"
    return f"{layered.frauds:,} frauds in {layered.rows:,} transactions, {span}"


def _svg(draw: Callable[[Axes], None], *, height: float) -> str:
    def alone(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)

    return _drawn(alone, height=height)


def _drawn(draw: Callable[[Figure], None], *, height: float) -> str:
    figure = Figure(figsize=(7.2, height), layout="constrained")
    draw(figure)
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
