"""A history in an artifact of GitHub Actions: fetched from the newest run of the main branch, kept again by this one.

The files are in a folder, which the workflow keeps as an artifact when the job ends. Anybody who may run a workflow may
make an artifact of that name, so only those of this repository's own runs of the same branch are read, and of them only
the files of a history.

Source: docs.github.com/rest, actions/artifacts, API version 2022-11-28.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from llmops.config.model import NAME
from llmops.errors import BackendError, TransientError, UsageError
from llmops.history.folder import FolderStore
from llmops.history.stores import Surroundings

LARGEST_BYTES = 64 * 1024 * 1024
"""Of an artifact, packed and unpacked."""

ATTEMPTS = 4
TIMEOUT_S = 30.0
_MAY_PASS = (408, 429, 500, 502, 503, 504)
_LAST_PAGE = 10
_FILE = re.compile(f"{NAME[1:-1]}/{NAME[1:-1]}\\.jsonl")


@dataclass(frozen=True, kw_only=True)
class ArtifactStore:
    """See `HistoryStore`.

    Attributes:
        around: waits between attempts, and has the job's variables.
        name: of the artifact.
        kept: the folder that the workflow keeps.
    """

    around: Surroundings
    name: str
    kept: FolderStore

    @property
    def place(self) -> str:
        """See `HistoryStore.place`."""
        return f"artifact {self.name}, in {self.kept.place}"

    def read(self) -> Mapping[str, str]:
        """See `HistoryStore.read`."""
        self._fetch_once()
        return self.kept.read()

    def append(self, lines: Mapping[str, Sequence[str]]) -> int:
        """See `HistoryStore.append`; what earlier runs kept is fetched first, so that it is kept again."""
        self._fetch_once()
        return self.kept.append(lines)

    def _fetch_once(self) -> None:
        mark = self.kept.folder / f".fetched-{self.around.env.get('GITHUB_RUN_ID', '')}"
        if mark.exists() or self.around.env.get("GITHUB_ACTIONS") != "true":
            return
        newest = next(self._artifacts(), None)
        if newest is not None:
            for file, text in _unpack(self._download(newest), self.place):
                self.kept.append({file: [line for line in text.split("\n") if line]})
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()

    def _artifacts(self) -> Iterator[Mapping[str, Any]]:
        """Yield the artifacts of earlier runs of this branch, newest first."""
        repository = self.around.env.get("GITHUB_REPOSITORY", "")
        api = self.around.env.get("GITHUB_API_URL", "https://api.github.com")
        for page in range(1, _LAST_PAGE + 1):
            params = {"name": self.name, "per_page": "100", "page": str(page)}
            found = self._get(f"{api}/repos/{repository}/actions/artifacts", params).json()["artifacts"]
            yield from sorted(filter(self._is_ours, found), key=lambda one: str(one["created_at"]), reverse=True)
            if len(found) < 100:
                return

    def _is_ours(self, artifact: Mapping[str, Any]) -> bool:
        run = artifact.get("workflow_run") or {}
        # The branch of a fork may have the same name as ours.
        is_own = run.get("repository_id") is not None and run.get("repository_id") == run.get("head_repository_id")
        is_branch = run.get("head_branch") == self.around.env.get("GITHUB_REF_NAME")
        return bool(artifact.get("name") == self.name and not artifact.get("expired") and is_own and is_branch)

    def _download(self, artifact: Mapping[str, Any]) -> bytes:
        if int(artifact["size_in_bytes"]) > LARGEST_BYTES:
            raise self._unusable(f"{artifact['size_in_bytes']} bytes")
        answer = self._get(str(artifact["archive_download_url"]), {})
        if not answer.is_redirect:
            return answer.content
        # The address that it leads to is signed and belongs to a storage service, which must not see the token.
        return self._get(answer.headers["Location"], {}, is_ours=False).content

    def _get(self, url: str, params: Mapping[str, str], *, is_ours: bool = True) -> requests.Response:
        token = self.around.env.get("GITHUB_TOKEN", "")
        if not token:
            raise UsageError.of("no token", where="$GITHUB_TOKEN", fix="Give the step `env: GITHUB_TOKEN`.")
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"} if is_ours else {}
        headers |= {"Authorization": f"Bearer {token}"} if is_ours else {}
        found = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = requests.get(
                    url, params=params, headers=headers, timeout=TIMEOUT_S, allow_redirects=False, auth=_nothing
                )
            except requests.RequestException as error:
                found = type(error).__name__
            else:
                if answer.ok:
                    return answer
                found = f"status {answer.status_code}"
                if answer.status_code not in _MAY_PASS:
                    raise BackendError.of(
                        "the history was refused", where=self.place, found=found, fix="The job needs `actions: read`."
                    )
            if attempt < ATTEMPTS:
                self.around.sleep(2.0 ** (attempt - 1))
        raise TransientError.of("the history cannot be fetched", where=self.place, found=found)

    def _unusable(self, found: str) -> UsageError:
        return UsageError.of(
            "the artifact is no history", where=self.place, found=found, expected=f"at most {LARGEST_BYTES} bytes"
        )


def _unpack(content: bytes, place: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a history in an archive; all others are passed over.

    Raises:
        UsageError: it is no archive, or unpacks to more than it may.
    """
    left = LARGEST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if not _FILE.fullmatch(entry.filename):
                    continue
                with archive.open(entry) as handle:
                    text = handle.read(left + 1)
                left -= len(text)
                if left < 0:
                    raise UsageError.of("the artifact is no history", where=place, found="an archive that is too large")
                yield entry.filename, text.decode("utf-8", "replace")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UsageError.of("the artifact is no history", where=place, found=str(error)) from error


def _nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from taking what a .netrc file says of the host."""
    return request
