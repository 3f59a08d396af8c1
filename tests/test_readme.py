"""Every command that the README shows is run, and every file it points to is there."""

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest

from tests.demo_home import ROOT, Demo

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


@pytest.fixture(scope="module")
def copy(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo's home, copied: what the README does to it is nobody else's concern."""
    home = tmp_path_factory.mktemp("readme") / "home"
    shutil.copytree(demo.home, home)
    return Demo(home=home, printed=demo.printed)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_a_make_target_exists(command: str) -> None:
    done = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_run_in_the_order_they_are_shown(copy: Demo) -> None:
    shown = [c.removeprefix(".venv/bin/") for c in commands() if "strata " in c]
    assert len(shown) >= 7
    for command in shown:
        given = {
            "portfolio.toml": copy.portfolio,
            "payments.csv": copy.portfolio.parent / "transactions.parquet",
        }
        words = [str(given.get(word, word)) for word in command.split()[1:]]
        if words[0] == "init":
            words += ["--out", str(copy.home / "proposed.toml")]
        if words[0] in {"dashboard", "flows"}:
            # they serve until interrupted: the test below and tests/flows see them at work
            continue
        copy.strata(*words)


def test_the_dashboard_serves_the_desk_and_mlflow(copy: Demo) -> None:
    command = [sys.executable, str(ROOT / "strata.py"), "dashboard", "--port", "18600"]
    with subprocess.Popen(
        command, env=copy.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert "Sign in" in page("http://127.0.0.1:18600/login", process)
            assert "MLflow" in page("http://127.0.0.1:18601/", process)
        finally:
            process.terminate()
    with socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 18601)), "MLflow is left running"


def page(address: str, process: "subprocess.Popen[bytes]") -> str:
    """What an address answers, as soon as it does."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{address} did not answer")


def test_what_it_points_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link
    for file in re.findall(
        r"`((?:docs|examples|features|pipeline|flows|dashboards)/[\w./]*)`", README
    ):
        assert (ROOT / file).exists(), file


def test_the_project_speaks_of_itself_alone() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    texts = [
        ROOT / name
        for name in listed
        if Path(name).suffix in {".py", ".md", ".toml", ".html", ".css", ".js", ".lock"}
    ]
    for file in texts:
        text = file.read_text(encoding="utf-8")
        assert "/" + "work/" not in text, file
        assert "/" + "root/" not in text, file
