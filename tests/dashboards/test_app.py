"""A wrong address is answered with a sentence, as a page or as JSON."""

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/alerts/99", 404, "There is no alert 99; open one from the queue."),
        ("/alerts/x", 404, "There is no page /alerts/x; begin at the queue."),
        ("/?page=0", 422, "The field page is not right"),
        ("/?state=odd", 422, "The field state is not right"),
        ("/logout", 405, "cannot be asked that way"),
    ],
    ids=["no alert", "no page", "page 0", "odd state", "wrong method"],
)
def test_a_wrong_address_is_answered_with_a_sentence(
    ann: TestClient, path: str, status: int, sentence: str
) -> None:
    answer = ann.get(path)
    assert (answer.status_code, sentence in answer.text) == (status, True)


def test_a_missing_alerts_twin_is_json_too(ann: TestClient) -> None:
    answer = ann.get("/alerts/99.json")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "There is no alert 99; open one from the queue."},
    )
