"""`llmops status`: what serves where, and what is stuck."""

from __future__ import annotations

from llmops.backends.fake import Fault
from llmops.commands.status import status
from tests.commands.shop import Shop


def test_it_says_what_serves_since_when_by_whom_and_with_which_verdict(shop: Shop) -> None:
    shop.env.update(GITHUB_ACTIONS="true", GITHUB_ACTOR="ana", GITHUB_REPOSITORY="a/b", GITHUB_RUN_ID="7")
    shop.register()
    shop.deploy()
    dev = next(place for place in shop.status()["places"] if place["environment"] == "dev")
    (serving,) = dev["serving"]
    assert (serving["version"], serving["percent"], serving["status"]) == ("1", 100, "healthy")
    assert serving["verdict"].startswith("tiny-")
    assert (dev["by"], dev["link"]) == ("ana", "https://github.com/a/b/actions/runs/7")
    assert dev["concerns"] == []


def test_an_environment_that_cannot_be_reached_does_not_hide_the_others(shop: Shop) -> None:
    shop.faults = [Fault(at=0, kind="fail-for-good")]
    places = shop.status()["places"]
    assert [bool(place["error"]) for place in places] == [True, False, False]
    assert places[0]["exit_code"] == 4


def test_traffic_that_someone_moved_by_hand_is_named_with_the_command_that_mends_it(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    shop.backend.connect()[1].update_endpoint("tiny-dev", traffic={})
    dev = next(place for place in shop.status()["places"] if place["environment"] == "dev")
    (concern,) = dev["concerns"]
    assert concern["fix"] == "llmops deploy tiny --environment dev --version 1"
    assert shop.deploy(version="1") == 0
    assert shop.serving() == {"1": 100}


def test_environments_in_which_nothing_serves_share_one_line(shop: Shop) -> None:
    status(context=shop.context, tools=shop.tools, experiment=None, environment=None, json_output=False)
    assert shop.out[-1] == "tiny: nothing serves in dev, local, prod"
