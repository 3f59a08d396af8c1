"""The waterfall leads from the base to the final log-odds without a gap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.desk.waterfall import render_bar, waterfall

increments = st.lists(st.tuples(st.text(max_size=5), st.floats(-30, 30)), max_size=12)


@given(st.floats(-20, 20), increments)
def test_every_step_begins_where_the_last_one_ended(
    base: float, stages: list[tuple[str, float]]
) -> None:
    steps = waterfall(base, stages)
    assert [step.before for step in steps[1:]] == [step.after for step in steps[:-1]]
    assert [step.start for step in steps[1:]] == [step.end for step in steps[:-1]]
    assert steps[-1].after == pytest.approx(
        base + sum(increment for _, increment in stages), abs=1e-9
    )


@given(st.floats(-20, 20), increments)
def test_every_bar_lies_within_the_plot(base: float, stages: list[tuple[str, float]]) -> None:
    assert all(
        0 <= place <= 100 for step in waterfall(base, stages) for place in (step.start, step.end)
    )


def test_a_bar_needs_no_style_and_tells_its_direction() -> None:
    _, up, down = waterfall(-4.0, [("amount", 2.0), ("ip", -1.0)])
    assert 'class="bar up"' in render_bar(up)
    assert 'class="bar down"' in render_bar(down)
    assert "style" not in render_bar(up)
