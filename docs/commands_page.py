"""The page of all commands, docs/commands.md, written from the command line itself.

python docs/commands_page.py > docs/commands.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from strata import cli  # noqa: E402 - found by the line above

HEAD = """# Commands

This page is written from the command line by `make docs`; a test says when it is stale.

Results go to standard output; what is wrong, and how far a long step is, to standard error: a bar
on a terminal, elsewhere a line every ten seconds. What is wrong is one sentence with its remedy.

| exit code | means |
|---|---|
| 0 | done |
| 2 | bad input, a batch that was stopped, rows that went to quarantine |
| 3 | busy: another process is at work on the same thing; run the command again |
| 4 | broken: storage, a database or a service is away, or a bug (details in `strata.log`) |
| 130, 143 | interrupted, ended |
"""


def page() -> str:
    """Return the text of docs/commands.md: each command with its usage and options."""
    context = click.Context(cli, info_name="strata")
    return "\n".join([HEAD, *_sections(cli, context)])


def _sections(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None:
            continue
        context = click.Context(command, info_name=name, parent=parent, max_content_width=90)
        if isinstance(command, click.Group):
            yield from _sections(command, context)
        else:
            yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(page())
