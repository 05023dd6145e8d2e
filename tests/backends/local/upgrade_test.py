"""A router that another version of llmops started: it goes on serving, and is relieved without a request noticing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import llmops
from llmops.backends.local.serving.router_process import RunningRouter, find_router
from tests.backends.local.conftest import NAME, Place, wait_for
from tests.backends.local.load import Load
from tests.projects import is_running

START = """\
import sys
from pathlib import Path
from llmops.backends.local.endpoints import LocalEndpoints
from llmops.config.model import Environment
LocalEndpoints(Path(sys.argv[1]), Environment(name="dev"), {}).start(sys.argv[2])
"""


def router_of(place: Place) -> RunningRouter:
    found = find_router(place.endpoints.places(NAME))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of llmops that says that it is another version."""
    folder = tmp_path_factory.mktemp("older")
    source = Path(llmops.__file__).parent
    shutil.copytree(source, folder / "llmops", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "llmops/__init__.py").write_text('__version__ = "0.0.1"\n')
    return folder


@pytest.fixture
def served(place: Place, older: Path) -> Place:
    """An endpoint that the other version serves."""
    place.deploy_plain("first")
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    place.endpoints.stop(NAME)
    command = [sys.executable, "-c", START, str(place.endpoints.folder), NAME]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(older)}, cwd=place.root, check=True, timeout=120)
    place.wait_until("first", "healthy")
    assert router_of(place).version == "0.0.1"
    return place


def test_a_command_that_only_looks_leaves_the_old_router_alone(served: Place) -> None:
    before = router_of(served)
    assert served.status("first") == "healthy"
    assert served.ask("a")["answer"] == "one a"
    served.endpoints.measure(NAME, start=0, end=1)
    assert router_of(served) == before


def test_a_command_that_changes_something_relieves_the_old_router_and_no_request_fails(served: Place) -> None:
    before = router_of(served)
    with Load(served.endpoints, NAME) as load:
        wait_for(lambda: load.answers.total() > 20)
        served.deploy_plain("second", "two ")
        served.endpoints.update_endpoint(NAME, traffic={"first": 50, "second": 50})
        wait_for(lambda: not is_running(before.pid))
        count = load.answers.total()
        wait_for(lambda: load.answers.total() > count + 20)
    assert (load.statuses, load.deployments) == ({200}, {"first", "second"})
    after = router_of(served)
    assert (after.version, after.port) == (llmops.__version__, before.port)
    assert served.ask("a", deployment="second")["answer"] == "two a"


def test_an_answer_that_takes_long_comes_from_the_old_router_while_the_new_one_serves(served: Place) -> None:
    flag = served.root / "flag"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(served.ask, f"wait:{flag}")
        wait_for(lambda: router_of(served).call("flush")["pending"] != {})
        served.endpoints.start(NAME)
        assert served.ask("quick")["answer"] == "one quick"
        assert not asked.done()
        flag.touch()
        assert asked.result()["status"] == 200


def test_a_successor_that_cannot_serve_gives_up_and_the_old_router_goes_on(served: Place) -> None:
    before = router_of(served)
    stored = served.endpoints.stored(NAME).deployments["first"]
    with (served.endpoints.places(NAME).package(stored.folder) / "manifest.json").open("a") as manifest:
        manifest.write(" damaged")
    assert served.endpoints.start(NAME) == before
    assert served.ask("a")["answer"] == "one a"
    assert router_of(served) == before


def test_an_old_router_that_cannot_be_relieved_is_used_as_it_is(served: Place) -> None:
    path = served.endpoints.places(NAME).router
    document = json.loads(path.read_text())
    path.write_text(json.dumps({name: document[name] for name in ("pid", "port", "token")}))
    served.deploy_plain("second", "two ")
    assert router_of(served).pid == document["pid"]
    assert served.ask("a", deployment="second")["answer"] == "two a"


def test_an_old_router_starts_processes_again_when_its_code_on_the_disk_is_another(served: Place, older: Path) -> None:
    shutil.move(older / "llmops/backends/local/serving/child", older / "gone")
    try:
        pid = router_of(served).call("status")["deployments"]["first"]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_running(pid))
        assert served.ask("a")["answer"] == "one a"
        assert router_of(served).version == "0.0.1"
    finally:
        shutil.move(older / "gone", older / "llmops/backends/local/serving/child")


def test_nothing_is_left_of_a_router_that_was_relieved(served: Place) -> None:
    before = router_of(served)
    served.endpoints.start(NAME)
    wait_for(lambda: not is_running(before.pid))
    left = {path.name for path in served.endpoints.places(NAME).folder.rglob(f"*-{before.pid}")}
    assert left == set()
    assert not Path(before.door).exists()
