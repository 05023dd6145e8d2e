from __future__ import annotations

from tests.backends.local.conftest import NAME, Place


def test_a_deployment_answers_once_it_is_healthy(place: Place) -> None:
    place.deploy_echo("first")
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    assert place.ask("hello") == {"status": 200, "deployment": "first", "answer": "one hello"}
