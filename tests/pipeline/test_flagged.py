"""A flagged transaction is made of plain values, and refuses what is no probability."""

import subprocess
import sys

import pytest

from tests.casework_examples import flagged
from tests.demo_home import ROOT


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1])
def test_a_score_that_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"transaction t1 has .* a probability as score"):
        flagged("t1", score=score)


def test_importing_it_loads_no_database_and_no_network() -> None:
    script = "import sys, pipeline.flagged; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "pipeline" in loaded
    assert not loaded & {"sqlalchemy", "torch", "numpy", "pandas", "pydantic"}
