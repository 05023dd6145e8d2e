"""What runs need is uploaded without the SDKs: an answer that is lost is asked for again at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.backends.azure.session import AzureSession, open_session
from llmops.backends.azure.uploads import upload
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, environment, unique
from tests.azure.workbench import Workbench, make_workbench

PATIENCE = "call_timeout_s: 3600"
"""An upload that stalled would not be made again before the test is given up."""
UPLOADS = [
    ("", "/rows.jsonl"),
    ("compute: job, ", "/driver.zip"),
    ("compute: job, ", "/task.json"),
    ("compute: job, ", "/shards/1.jsonl"),
    ("compute: job, ", "/project/flows/answer/answer.py"),
    ("compute: job, ", "/project/flows/answer/flow.dag.yaml"),
]


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("uploads"))
    bench.rows("one", "two")
    return bench


@pytest.fixture
def session(emulator: Emulator, tmp_path: Path) -> AzureSession:
    return open_session(environment("uploads"), tmp_path / ".llmops", emulator.environment())


def lose(inject: Callable[..., None], path: str) -> None:
    """Lose the answer to an upload: what was sent is there, and the connection is gone."""
    inject(effect="lose_answer", method="PUT", path=f"llmops/uploads/.*{path}$")


def uploads(requests: Requests, part: str = "") -> int:
    return len([entry for entry in requests.all("PUT", part) if "llmops/uploads/" in entry.path])


@pytest.mark.parametrize(("runs", "path"), UPLOADS)
def test_an_upload_whose_answer_was_lost_is_made_again_at_once(
    bench: Workbench, inject: Callable[..., None], requests: Requests, runs: str, path: str
) -> None:
    bench.environment(runs=runs + PATIENCE)
    lose(inject, path)
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    assert started["status"]
    assert uploads(requests, path) == 2


def test_the_inputs_of_lines_are_uploaded_again_when_the_answer_was_lost(
    bench: Workbench, inject: Callable[..., None], requests: Requests
) -> None:
    bench.environment(runs=PATIENCE)
    lose(inject, "/answer-.*.jsonl")
    bench.json("run", "tiny", "--environment", "dev", "--repeat", "2", "--detach")
    assert uploads(requests) == 2


def test_what_is_there_is_not_uploaded_again_and_what_is_half_there_is(
    session: AzureSession, tmp_path: Path, emulator: Emulator, requests: Requests
) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text("one")
    (folder / "b.txt").write_text("two")
    first = upload(session, folder, "upload it")
    assert (upload(session, folder, "upload it"), uploads(requests)) == (first, 2)
    container = session.ml.datastores.get_default().container_name
    blob = f"{first.partition('/paths/')[2]}/b.txt"
    emulator.cloud.blobs.write(container, blob, b"t")
    upload(session, folder, "upload it")
    assert emulator.cloud.blobs.read(container, blob) == b"two"
    (folder / "b.txt").write_text("owt")
    assert upload(session, folder, "upload it") != first
