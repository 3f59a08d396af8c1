"""The rooms stand in order, each framework has one home, and importing a module does nothing.

Each rule is seen to fail: a deliberate break of today's tree is found by it, and by its place.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests import house
from tests.house import FLOORS, HOMES, MAX_ROOMS_IN_A_CHAIN, ROOT, Sources, read_sources

HOUSE = read_sources()
LONG = '"""Long."""\n' + "x = 1\n" * house.MAX_LINES
RULES: dict[str, tuple[Callable[[Sources], list[str]], dict[str, str], str]] = {
    # a rule; what breaks it: files added to the tree, or lines added to a file; what it then names
    "floors": (house.wrong_floors, {"features/schema.py": "import pipeline.lake.tables"}, "schema"),
    "rooms of pipeline": (
        house.wrong_rooms,
        {"pipeline/lake/tables.py": "from pipeline.registry.bundle import Bundle"},
        "pipeline.lake.tables .lake. imports pipeline.registry.bundle",
    ),
    "rooms of features": (
        house.wrong_rooms,
        {"features/groups/amount.py": "from features.build import build"},
        "features.groups.amount .groups. imports features.build",
    ),
    "imports inside functions": (
        house.wrong_rooms,
        {"pipeline/arrays.py": "def late():\n    import pipeline.score.score"},
        "pipeline.arrays",
    ),
    "no circle": (
        house.circles,
        {"pipeline/lake/tables.py": "import pipeline.lake.snapshot"},
        "pipeline.lake.tables",
    ),
    "homes": (house.strays, {"pipeline/score/score.py": "import prefect"}, "imports prefect"),
    "unused": (house.idle_frameworks, {}, "mlflow"),
    "a dozen files": (
        house.crowded_rooms,
        {f"pipeline/policy/more_{number}.py": '"""More."""' for number in range(12)},
        "pipeline/policy has",
    ),
    "no facade": (
        house.facades,
        {"pipeline/lake/__init__.py": "from pipeline.lake.tables import Lake"},
        "pipeline/lake/__init__.py",
    ),
    "no unpickling": (house.unpicklers, {"pipeline/arrays.py": "np.load('x')"}, "arrays"),
    "features know no clock": (
        house.features_that_know_too_much,
        {"features/schema.py": "now = datetime.now()"},
        "features/schema.py knows now",
    ),
    "features know no torch": (
        house.features_that_know_too_much,
        {"features/schema.py": "import torch"},
        "features/schema.py knows torch",
    ),
    "no nested comprehension": (
        house.nested_comprehensions,
        {"pipeline/arrays.py": "x = [[1 for _ in range(2)] for _ in range(2)]"},
        "pipeline/arrays.py:",
    ),
    "a file says its idea": (house.unclear_files, {"pipeline/new.py": "x = 1"}, "does not say"),
    "a file is one idea": (house.unclear_files, {"pipeline/new.py": LONG}, "too long"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule: str) -> None:
    violations, _, _ = RULES[rule]
    assert not violations(HOUSE)


@pytest.mark.parametrize("rule", RULES)
def test_a_deliberate_break_of_the_rule_is_found(rule: str) -> None:
    violations, added, named = RULES[rule]
    broken = dict(HOUSE)
    for path, lines in added.items():
        broken[path] = f"{HOUSE.get(path, '')}\n{lines}".strip()
    if rule == "unused":
        broken = {path: text for path, text in HOUSE.items() if "mlflow" not in text}
    assert re.search(named, ", ".join(violations(broken)))


def test_no_way_through_the_rooms_is_longer_than_nine() -> None:
    chain = house.longest_room_chain(HOUSE)
    assert len(chain) <= MAX_ROOMS_IN_A_CHAIN, " -> ".join(chain)


def test_a_longer_way_through_the_rooms_is_seen() -> None:
    order = house.PIPELINE_ROOMS[1:-1]
    stairs = {
        f"pipeline/{room}/step.py": f"import pipeline.{below}.step"
        for below, room in pairwise(order)
    }
    stairs[f"pipeline/{order[0]}/step.py"] = '"""The ground."""'
    assert len(house.longest_room_chain(stairs)) == len(order) > MAX_ROOMS_IN_A_CHAIN


def test_no_file_is_named_like_a_package() -> None:
    paths = [path for path in HOUSE if path.startswith(("flows/", "dashboards/"))]
    names = {Path(path).stem for path in paths} - {"__init__"}
    taken = {*sys.stdlib_module_names, *HOMES, *FLOORS, "torch", "pandas"}
    top = {Path(path).stem for path in paths if path.count("/") == 1} - {"__init__"}
    assert not top & taken, names


def test_importing_everything_makes_no_folder_and_starts_nothing(tmp_path: Path) -> None:
    modules = [house.module_name(path) for path in HOUSE if not path.endswith("__init__.py")]
    wanted = [name for name in modules if "migrations" not in name]
    script = f"import importlib\nfor name in {wanted}: importlib.import_module(name)\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "PREFECT_HOME": str(tmp_path / "p"),
            "MPLCONFIGDIR": "/tmp",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = {path.name for path in tmp_path.iterdir()} - {"p", ".cache", ".config"}
    assert not left, f"importing made {left}"
