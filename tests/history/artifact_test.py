"""A history in an artifact: only what this repository's own main branch has kept is read, and only a history."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import BackendError, UsageError
from llmops.history.artifact import LARGEST_BYTES, ArtifactStore
from llmops.history.folder import FolderStore
from llmops.history.stores import Surroundings
from tests.hosts.rest_double import Call, Reply, Service, serve

TOKEN = "token-of-the-double"  # noqa: S105 it opens the double only
NAME = "llmops-history-prod"


def pack(files: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@dataclass
class Artifacts(Service):
    """GitHub's artifacts, and the storage service that holds them."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    archives: dict[int, bytes] = field(default_factory=dict)

    def keep(self, archive: bytes, *, run: Mapping[str, Any] | None = None, **changes: Any) -> None:
        number = len(self.kept) + 1
        own = {"repository_id": 1, "head_repository_id": 1, "head_branch": "main"}
        self.archives[number] = archive
        self.kept.append(
            {
                "id": number,
                "name": NAME,
                "size_in_bytes": len(archive),
                "expired": False,
                "created_at": f"2026-07-{number:02}T03:17:00Z",
                "archive_download_url": f"{self.url}/repos/octo/cat/actions/artifacts/{number}/zip",
                "workflow_run": {**own, **(run or {})},
                **changes,
            }
        )

    def answer(self, call: Call) -> Reply:
        if call.path.startswith("/signed/"):
            self.expect("authorization" not in call.headers, "the storage service is shown the token")
            return Reply(200, raw=self.archives[int(call.path.rpartition("/")[2])])
        self.expect(call.headers.get("authorization") == f"Bearer {TOKEN}", "token")
        if call.path.endswith("/zip"):
            return Reply(302, headers={"Location": f"{self.url}/signed/{call.path.split('/')[-2]}"})
        self.expect(call.path == "/repos/octo/cat/actions/artifacts" and call.query["name"] == NAME, call.path)
        return Reply(200, {"total_count": len(self.kept), "artifacts": self.kept[::-1]})


@pytest.fixture
def artifacts() -> Iterator[Artifacts]:
    service = Artifacts()
    with serve(service):
        yield service


def store(service: Artifacts, folder: Path, **changes: str) -> ArtifactStore:
    env = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": service.url,
        "GITHUB_REF_NAME": "main",
        "GITHUB_REPOSITORY": "octo/cat",
        "GITHUB_RUN_ID": "99",
        "GITHUB_TOKEN": TOKEN,
        **changes,
    }
    around = Surroundings(root=folder, environment="prod", env=env, sleep=lambda _: None)
    return ArtifactStore(around=around, name=NAME, kept=FolderStore(folder / "history"))


def test_what_an_earlier_run_has_kept_is_gone_on_from(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.keep(pack({"tiny/prod.jsonl": "older\n"}))
    artifacts.keep(pack({"tiny/prod.jsonl": "one\ntwo\n"}))
    assert store(artifacts, tmp_path).append({"tiny/prod.jsonl": ["three"]}) == 1
    assert store(artifacts, tmp_path).read() == {"tiny/prod.jsonl": "one\ntwo\nthree\n"}
    assert sum(call.startswith("GET /signed") for call in artifacts.calls) == 1


def test_the_first_run_starts_a_history(artifacts: Artifacts, tmp_path: Path) -> None:
    assert store(artifacts, tmp_path).append({"tiny/prod.jsonl": ["one"]}) == 1
    assert store(artifacts, tmp_path).read() == {"tiny/prod.jsonl": "one\n"}


@pytest.mark.parametrize(
    ("run", "changes"),
    [
        ({"head_repository_id": 2}, {}),
        ({"head_branch": "feature"}, {}),
        ({"repository_id": None, "head_repository_id": None}, {}),
        ({}, {"expired": True}),
        ({}, {"name": "llmops-history-prod-2"}),
    ],
)
def test_an_artifact_of_somebody_else_is_not_read(
    artifacts: Artifacts, tmp_path: Path, run: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    artifacts.keep(pack({"tiny/prod.jsonl": "forged\n"}), run=run, **changes)
    assert store(artifacts, tmp_path).read() == {}


def test_an_archive_can_write_nothing_but_files_of_a_history(artifacts: Artifacts, tmp_path: Path) -> None:
    names = ["../out.jsonl", "/tmp/out.jsonl", "a/../../b.jsonl", "tiny/prod.json", "a/b/c.jsonl", ".git/x.jsonl"]  # noqa: S108 no file is made
    artifacts.keep(pack({**dict.fromkeys(names, "x\n"), "tiny/prod.jsonl": "one\n"}))
    assert store(artifacts, tmp_path).read() == {"tiny/prod.jsonl": "one\n"}
    written = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(written) == [".fetched-99", "prod.jsonl"]


def test_an_archive_that_unpacks_to_too_much_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.keep(pack({"tiny/prod.jsonl": "x" * (LARGEST_BYTES + 1)}))
    with pytest.raises(UsageError, match="an archive that is too large"):
        store(artifacts, tmp_path).read()


def test_what_is_no_archive_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.keep(b"no archive")
    with pytest.raises(UsageError, match="the artifact is no history"):
        store(artifacts, tmp_path).read()


def test_patience_with_what_passes_and_a_word_for_what_does_not(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.trouble = [Reply(502, text="Unicorn!"), Reply(429, {"message": "slow down"})]
    assert store(artifacts, tmp_path).read() == {}
    artifacts.trouble = [Reply(403, {"message": "Resource not accessible by integration"})]
    with pytest.raises(BackendError, match="actions: read"):
        store(artifacts, tmp_path, GITHUB_RUN_ID="100").read()


def test_outside_of_github_it_is_a_folder(artifacts: Artifacts, tmp_path: Path) -> None:
    assert store(artifacts, tmp_path, GITHUB_ACTIONS="").append({"tiny/prod.jsonl": ["one"]}) == 1
    assert artifacts.calls == []
