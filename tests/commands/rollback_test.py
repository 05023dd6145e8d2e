"""`llmops rollback`: back to what served, also when the last deploy died."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmops.backends.fake import Call, Killed
from llmops.errors import UsageError
from tests.commands.shop import Shop


def _two_versions(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    shop.change_flow()
    shop.register()
    assert shop.deploy() == 0


def _die_while_watching() -> Callable[[Call], None]:
    """Kill the driver when it first looks at live requests; nothing that it calls returns from then on."""
    seen: list[Call] = []

    def watch(call: Call) -> None:
        if call.method == "measure" or seen:
            seen.append(call)
            raise Killed

    return watch


def test_the_previous_deployment_takes_all_traffic_at_once(shop: Shop) -> None:
    _two_versions(shop)
    now = shop.backend.clock.now()
    assert shop.rollback() == 0
    assert shop.serving() == {"1": 100}
    assert shop.backend.clock.now() == now
    assert shop.rollouts()[-1]["reason"] == "a test wants it"


def test_rolling_back_twice_does_not_go_further_back(shop: Shop) -> None:
    _two_versions(shop)
    shop.rollback()
    assert shop.rollback() == 0
    assert shop.serving() == {"1": 100}
    assert "the last rollout was turned back already" in shop.out[-1]


def test_a_version_whose_deployment_is_gone_is_deployed_again_from_the_registry(shop: Shop) -> None:
    path = "config/environments/dev.yaml"
    shop.project.write(path, "backend: local\nrollout: {rollback_window_s: 0}\n")
    _two_versions(shop)
    observed = shop.backend.see("tiny-dev")
    assert observed
    assert len(observed.deployments) == 1
    assert shop.rollback(to="1") == 0
    assert shop.serving() == {"1": 100}


def test_a_deploy_that_died_half_way_is_given_up(shop: Shop) -> None:
    _two_versions(shop)
    shop.change_flow("# a third\n")
    shop.register()
    shop.backend.watch = _die_while_watching()
    with pytest.raises(Killed):
        shop.deploy()
    shop.backend.watch = lambda _: None
    shop.backend.clock.sleep(121)
    assert "3" in shop.serving()
    assert shop.rollback() == 0
    assert shop.serving() == {"2": 100}
    assert "the rollout that was under way is ended" in shop.out[-1]


def test_without_any_rollout_there_is_nothing_to_return_to(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    with pytest.raises(UsageError, match="there is nothing to return to"):
        shop.rollback()


def test_rolling_back_to_what_serves_says_already_so(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    assert shop.rollback(to="1") == 0
    assert shop.out[-1] == "tiny-dev: version 1 has all traffic already."
