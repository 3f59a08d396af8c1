"""Users are added with a password that works, or it is said why not."""

import pytest
from sqlalchemy import Engine

from pipeline.casework import RefusedError, add_user, check_password
from tests.casework_examples import NOW, PASSWORD


def test_a_wrong_password_or_an_unknown_name_signs_nobody_in(engine: Engine) -> None:
    assert check_password(engine, "ann", "wrong password") is None
    assert check_password(engine, "eve", PASSWORD) is None


def test_a_generated_password_works(engine: Engine) -> None:
    password = add_user(engine, "zoe", role="analyst", now=NOW)
    assert check_password(engine, "zoe", password) is not None


@pytest.mark.parametrize(
    ("name", "role", "password", "sentence"),
    [
        ("ann", "analyst", None, "there is a user 'ann' already"),
        (" ", "analyst", None, "' ' is no name for a user"),
        ("strata", "analyst", None, "'strata' stands for the machine"),
        ("zoe", "boss", None, "'boss' is no role; choose one of analyst, senior, manager, viewer"),
        ("zoe", "analyst", "short", "the password has 5 characters; give at least 10"),
    ],
    ids=["taken", "blank", "machine", "odd role", "short password"],
)
def test_a_user_who_breaks_a_rule_is_not_added(
    engine: Engine, name: str, role: str, password: str | None, sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        add_user(engine, name, role=role, password=password, now=NOW)  # type: ignore[arg-type]  # wrong on purpose
