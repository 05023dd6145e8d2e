from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmops.backends.local.serving.store import EndpointStore, StoredDeployment
from llmops.errors import UsageError

OTHER_PROCESS = """
import sys
from pathlib import Path
from llmops.backends.local.serving.store import EndpointStore
EndpointStore(Path(sys.argv[1])).update("tiny", tags={sys.argv[2]: "written"})
"""


def deployment(name: str) -> StoredDeployment:
    return StoredDeployment(name=name, model="m", version="1", digest="sha256:0", folder=f"{name}.1")


def make(path: Path) -> EndpointStore:
    store = EndpointStore(path)
    store.ensure("tiny", environment="dev", tags={})
    return store


def test_a_write_of_another_process_is_seen_by_every_thread(tmp_path: Path) -> None:
    store = make(tmp_path / "state.sqlite")
    for name in ("one", "two"):
        reading = threading.Thread(target=store.find, args=["tiny"])
        reading.start()
        reading.join()
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "state.sqlite"), name], check=True)
        found = store.find("tiny")
        assert found is not None
        assert found.tags.get(name) == "written"


def test_only_the_user_can_read_the_file_with_the_keys(tmp_path: Path) -> None:
    make(tmp_path / "state.sqlite")
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o777 == 0o600


def test_an_endpoint_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    store = make(tmp_path / "state.sqlite")
    before = store.find("tiny")
    store.ensure("tiny", environment="prod", tags={"new": "tag"})
    assert store.find("tiny") == before


def test_the_first_deployment_of_a_name_stays(tmp_path: Path) -> None:
    store = make(tmp_path / "state.sqlite")
    first = store.add("tiny", deployment("a"))
    again = StoredDeployment(name="a", model="m", version="2", digest="sha256:1", folder="a.2")
    assert store.add("tiny", again) == first


def test_traffic_and_tags_change_together_or_not_at_all(tmp_path: Path) -> None:
    store = make(tmp_path / "state.sqlite")
    store.add("tiny", deployment("a"))
    store.update("tiny", traffic={"a": 100}, tags={"x": "1", "y": "1"})
    with pytest.raises(UsageError, match="no deployment 'b'"):
        store.update("tiny", traffic={"b": 100}, tags={"x": None})
    found = store.find("tiny")
    assert found is not None
    assert (found.traffic, found.tags) == ({"a": 100}, {"x": "1", "y": "1"})


def test_a_deployment_that_is_being_removed_gets_no_traffic(tmp_path: Path) -> None:
    store = make(tmp_path / "state.sqlite")
    store.add("tiny", deployment("a"))
    store.mark_deleting("tiny", "a")
    with pytest.raises(UsageError, match="no deployment 'a'"):
        store.update("tiny", traffic={"a": 100})
