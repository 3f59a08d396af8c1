"""Set-up: any Python that fits, torch with what its wheel needs, and no half-made environment.

The Makefile is tried with a lock of a few empty wheels, the true locks against the registry.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
MANYLINUX = "x86_64-manylinux_2_28"
PYTHONS = ("3.11", "3.12", "3.13")
STAND_IN = {"torch": ["chosen-by-the-wheel"], "chosen-by-the-wheel": [], "numpy": [], "pytest": []}
BACKEND = """
import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("strata_fraud-1-py3-none-any.whl", folder).rpartition("/")[2]
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def wheel(folder: Path, name: str, *, requires: list[str]) -> None:
    """A wheel of one module that says nothing."""
    module = name.replace("-", "_")
    info = f"{module}-1.dist-info"
    needs = "".join(f"Requires-Dist: {other}\n" for other in requires)
    with zipfile.ZipFile(folder / f"{module}-1-py3-none-any.whl", "w") as file:
        file.writestr(f"{module}/__init__.py", "")
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with this Makefile, whose locks name four small wheels."""
    for name in ("Makefile", "make_venv.sh"):
        shutil.copy(ROOT / name, tmp_path)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, requires in STAND_IN.items():
        wheel(wheels, name, requires=requires)
    wheel(tmp_path, "strata-fraud", requires=[])
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "requirements.lock").write_text("numpy==1\ntorch==1\n")
    (tmp_path / "requirements-dev.lock").write_text("pytest==1\n")
    return tmp_path


def make(project: Path, target: str, *, python: str = sys.executable) -> "subprocess.Popen[str]":
    """The set-up as from a shell, also where make itself runs the tests and tells its children."""
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    return subprocess.Popen(
        ["make", target, f"PYTHON={python}", "LOADED=torch"],
        cwd=project,
        env=environment | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    return printed


def installed(project: Path) -> set[str]:
    code = "import importlib.metadata as m; print(*[d.name for d in m.distributions()])"
    python = project / ".venv/bin/python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) & {*STAND_IN, "strata-fraud"}


def test_torch_comes_with_what_its_wheel_needs_and_tests_bring_the_second_lock(
    project: Path,
) -> None:
    finish(make(project, ".venv/ready"))
    running = {"numpy", "torch", "chosen-by-the-wheel", "strata-fraud"}
    assert installed(project) == running
    finish(make(project, ".venv/ready-dev"))
    assert installed(project) == running | {"pytest"}
    assert "up to date" in finish(make(project, ".venv/ready"))
    assert "up to date" in finish(make(project, ".venv/ready-dev"))


@pytest.mark.parametrize(
    ("target", "sight"),
    [
        (".venv/ready", "lib/python3*/site-packages/torch"),
        (".venv/ready-dev", "lib/python3*/site-packages/pytest"),
    ],
    ids=[
        "while torch is installed",
        "while the second lock is installed",
    ],
)
def test_a_set_up_that_was_killed_is_mended_by_the_same_command(
    project: Path, target: str, sight: str
) -> None:
    process = make(project, target)
    while process.poll() is None and not list((project / ".venv").glob(sight)):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    torn = project / ".venv/torn"
    torn.write_text("")
    assert not (project / ".venv/ready").exists()
    finish(make(project, target))
    assert not torn.exists(), "the half-made environment was built upon"
    assert installed(project) >= {"numpy", "torch", "chosen-by-the-wheel", "strata-fraud"}


def program(file: Path, script: str) -> str:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


WITHOUT_ENSUREPIP = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
OTHER_C_LIBRARY = f'case "$2" in *glibc*) exit 1;; esac; exec {sys.executable} "$@"'


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 1", "Strata needs Python 3.11, 3.12 or 3.13, and none of these is one: no-such "),
        (WITHOUT_ENSUREPIP, "has no ensurepip, which a virtual environment needs; install it"),
        (OTHER_C_LIBRARY, "torch has no wheel for this system's C library"),
    ],
    ids=["no Python that fits", "no ensurepip", "another C library"],
)
def test_what_is_missing_is_said_in_one_sentence(project: Path, script: str, sentence: str) -> None:
    python = program(project / "python", script)
    process = make(project, ".venv/ready", python=f"no-such {python}")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    said, *stop = printed.splitlines()
    assert sentence in said
    assert len(stop) == 1, printed
    assert not (project / ".venv").exists()


def test_the_first_python_that_can_is_taken(project: Path) -> None:
    unfit = program(project / "unfit", WITHOUT_ENSUREPIP)
    fit = program(project / "fit", f'[ "$1" = -c ] && exec {sys.executable} "$@"; echo taken "$@"')
    command = ["sh", "make_venv.sh", ".venv", "no-such", unfit, fit, unfit]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "taken -m venv --clear .venv"


def uv(*words: str) -> str:
    """What uv prints, which asks the registry for no more than the words about a wheel."""
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *words],
        cwd=ROOT,
        env=os.environ | {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "20"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    reached = not re.search("error sending request|network connectivity", done.stderr)
    if not reached:
        pytest.skip("the package registry is not reached")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_every_python_has_wheels_of_all_that_is_locked(lock: str, python: str) -> None:
    sdists = ["--only-binary", ":all:", "--no-binary", "pyspark"]
    uv(lock, "--no-deps", *sdists, "--python-version", python, "--python-platform", MANYLINUX)


def test_the_cuda_wheel_of_torch_brings_packages_that_no_lock_names(tmp_path: Path) -> None:
    wanted = tmp_path / "torch.in"
    wanted.write_text("torch\n")
    found = uv("--no-config", str(wanted), "-c", LOCKS[0], "--python-platform", MANYLINUX)
    assert "torch==2." in found
    nvidia = re.findall(r"^(nvidia-[a-z0-9-]+|triton)==", found, flags=re.MULTILINE)
    assert len(nvidia) >= 10
    locked = "".join((ROOT / lock).read_text() for lock in LOCKS)
    assert not [name for name in nvidia if name in locked]


def test_the_locks_are_what_make_lock_writes(tmp_path: Path) -> None:
    uv("--no-config", "--no-deps", "requirements.lock")  # skips where no registry is reached
    for name in ("Makefile", "pyproject.toml", "README.md", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    command = ["make", "lock", "--old-file=.venv/ready-dev", f"BIN={Path(sys.executable).parent}"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    for lock in LOCKS:
        assert (tmp_path / lock).read_text() == (ROOT / lock).read_text()


@pytest.mark.parametrize("there", [(), ("chromium", "java")], ids=["none", "two"])
def test_ci_installs_the_system_packages_that_are_missing(
    tmp_path: Path, there: tuple[str, ...]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    asked = tmp_path / "asked"
    for name in (*there, "make", "apt-get"):
        program(programs / name, f'echo {name} "$@" >> {asked}')
    command = [str(programs / "bash"), str(ROOT / ".ci/run")]
    subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, check=True)
    update, install, run = asked.read_text().splitlines()
    assert (update, run) == ("apt-get update -qq", "make test")
    packages = {"chromium": "chromium", "chromedriver": "chromium-driver"}
    packages["java"] = "openjdk-17-jre-headless"
    wanted = {package for name, package in packages.items() if name not in there}
    assert set(install.split()) & set(packages.values()) == wanted
