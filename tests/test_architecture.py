"""Imports run one way, each framework has one home, and importing a module does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("features", "pipeline", "flows", "dashboards")
MAY_IMPORT = {
    "features": {"features"},
    "pipeline": {"features", "pipeline"},
    "flows": {"features", "pipeline", "flows"},
    "dashboards": {"pipeline", "dashboards"},
}
HOMES = {
    "prefect": "flows/",
    "mlflow": "pipeline/registry/versions.py",
    "pytorch_lightning": "pipeline/models/layered/training.py",
    "fastapi": "dashboards/",
    "jinja2": "dashboards/",
    "sqlalchemy": "pipeline/casework/",
    "alembic": "pipeline/casework/",
    "click": "strata.py",
}
CLOCKS = {"now", "utcnow", "today"}


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def own_files() -> list[Path]:
    return [*(file for room in ROOMS for file in files_of(room)), ROOT / "strata.py"]


def imported(file: Path) -> set[str]:
    """Top-level names of everything a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    for file in files_of(room):
        foreign = imported(file) & {*ROOMS, "strata"} - MAY_IMPORT[room]
        assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("framework", HOMES)
def test_each_framework_has_one_home(framework: str) -> None:
    users = [str(file.relative_to(ROOT)) for file in own_files() if framework in imported(file)]
    assert users, f"nobody imports {framework}; take it out of the dependencies"
    assert all(user.startswith(HOMES[framework]) for user in users), users


def test_features_know_no_torch_no_database_and_no_clock() -> None:
    for file in files_of("features"):
        assert not imported(file) & {"torch", "sqlalchemy", "deltalake", "time"}, file
        calls = [
            node.attr
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Attribute)
        ]
        assert not CLOCKS & set(calls), file


def test_nothing_unpickles() -> None:
    for file in own_files():
        assert not imported(file) & {
            "pickle",
            "cloudpickle",
            "joblib",
            "dill",
            "shelve",
            "marshal",
        }, file
        calls = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        loads = [
            node
            for node in calls
            if isinstance(node, ast.Attribute)
            and ast.unparse(node) in {"torch.load", "np.load", "pd.read_pickle"}
        ]
        assert not loads, file


def test_no_file_is_named_like_a_package() -> None:
    names = {file.stem for room in ("flows", "dashboards") for file in files_of(room)} - {
        "__init__"
    }
    assert not names & {*sys.stdlib_module_names, *HOMES, *ROOMS, "features", "torch", "pandas"}


def test_importing_everything_makes_no_folder_and_starts_nothing(tmp_path: Path) -> None:
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in own_files()]
    wanted = [
        name for name in modules if "migrations" not in name and not name.endswith("__init__")
    ]
    script = f"import importlib, threading\nfor name in {wanted}: importlib.import_module(name)\n"
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


def test_a_file_is_one_idea_and_says_it_first() -> None:
    for file in own_files():
        text = file.read_text(encoding="utf-8")
        assert not text or ast.get_docstring(ast.parse(text)), f"{file} does not say its idea"
        assert len(text.splitlines()) <= 450, f"{file} is too long to be one idea"
