"""The command line in this process, for tests that read what it says."""

import pytest

import strata


def run(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line that `sys.argv` holds.

    Returns exit code, standard output and standard error.
    """
    code = 0
    try:
        strata.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()
