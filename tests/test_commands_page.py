"""docs/commands.md is what the command line says of itself."""

import subprocess
import sys

from tests.demo_home import ROOT


def test_the_page_is_what_the_command_line_says() -> None:
    made = subprocess.run(
        [sys.executable, "docs/commands_page.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == made, "run make docs"
    for command in ("strata ingest", "strata train", "strata user add"):
        assert f"## {command}\n" in made
