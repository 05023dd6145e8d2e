"""A history in append blobs of Azure Storage: one request appends a block, whole or not at all.

Source: learn.microsoft.com/rest/api/storageservices, Put Blob, Append Block, Get Blob, List Blobs, version 2021-12-02.
"""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import requests

from llmops.errors import BackendError, TransientError, UsageError
from llmops.history.stores import Env, Surroundings, missing_lines

VERSION = "2021-12-02"
ATTEMPTS = 5
TIMEOUT_S = 30.0
_MAY_PASS = (408, 429, 500, 502, 503, 504)
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")

Method = Literal["GET", "PUT"]


@dataclass(frozen=True, kw_only=True)
class BlobStore:
    """See `HistoryStore`.

    Attributes:
        around: waits between attempts.
        container: address of the container, without a slash at the end; prefix: of a folder in it.
        sas: query parameters that give access; a secret. Empty: a token does.
        token: of Azure's own directory; a secret.
    """

    around: Surroundings
    container: str
    prefix: str
    sas: Mapping[str, str]
    token: str

    @property
    def place(self) -> str:
        """See `HistoryStore.place`."""
        return f"{self.container}/{self.prefix}".rstrip("/")

    def read(self) -> Mapping[str, str]:
        """See `HistoryStore.read`."""
        return {name: self._read_blob(name)[0] for name in self._names() if name.endswith(".jsonl")}

    def append(self, lines: Mapping[str, Sequence[str]]) -> int:
        """See `HistoryStore.append`."""
        return sum(self._append(file, wanted) for file, wanted in lines.items())

    def _append(self, file: str, wanted: Sequence[str]) -> int:
        for attempt in range(1, ATTEMPTS + 1):
            text, size = self._read_blob(file)
            missing = missing_lines(text, wanted)
            if not missing:
                return 0
            if size is None:
                self._create(file)
                size = 0
            # What was read must still be all that there is: another job may have appended, or this one, unheard.
            headers = {"x-ms-blob-condition-appendpos": str(size)}
            block = "".join(f"{line}\n" for line in missing).encode()
            try:
                if self._call("PUT", file, {"comp": "appendblock"}, headers, block, tries=1).ok:
                    return len(missing)
            except TransientError:
                if attempt == ATTEMPTS:
                    raise
            self.around.sleep(0.2 * 2.0**attempt)
        raise TransientError.of("other jobs kept appending to the history", where=f"{self.place}/{file}")

    def _create(self, file: str) -> None:
        headers = {"x-ms-blob-type": "AppendBlob", "If-None-Match": "*", "Content-Type": "application/x-ndjson"}
        self._call("PUT", file, {}, headers, b"")

    def _read_blob(self, file: str) -> tuple[str, int | None]:
        """Return a blob's text and its size in bytes; None as the size when there is no blob."""
        answer = self._call("GET", file, {}, {})
        if answer.status_code == 404:
            return "", None
        if answer.headers.get("x-ms-blob-type", "AppendBlob") != "AppendBlob":
            found = answer.headers["x-ms-blob-type"]
            raise UsageError.of(
                "not an append blob", where=f"{self.place}/{file}", found=found, fix="Name another folder: history.url."
            )
        return answer.content.decode("utf-8", "replace"), len(answer.content)

    def _names(self) -> Iterator[str]:
        """List the blobs below the folder, by their names in it."""
        start = f"{self.prefix}/" if self.prefix else ""
        marker = ""
        while True:
            query = {"restype": "container", "comp": "list", "prefix": start, "marker": marker}
            answer = self._call("GET", "", {name: value for name, value in query.items() if value}, {})
            if answer.status_code == 404:
                raise self._refused(answer)
            page = ET.fromstring(answer.content)  # noqa: S314 the storage service's own answer; no entities are expanded
            for name in page.iterfind("Blobs/Blob/Name"):
                yield (name.text or "").removeprefix(start)
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return

    def _call(
        self,
        method: Method,
        file: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        tries: int = ATTEMPTS,
    ) -> requests.Response:
        path = "/".join(quote(part, safe="") for part in f"{self.prefix}/{file}".strip("/").split("/")) if file else ""
        url = f"{self.container}/{path}".rstrip("/")
        access = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        for attempt in range(1, tries + 1):
            sent = {"x-ms-version": VERSION, "x-ms-date": formatdate(usegmt=True), **access, **headers}
            try:
                answer = requests.request(
                    method,
                    url,
                    params={**query, **self.sas},
                    headers=sent,
                    data=body,
                    timeout=TIMEOUT_S,
                    allow_redirects=False,
                    auth=_nothing,
                )
            except requests.RequestException as error:
                # The message of the exception holds the address, and so the SAS.
                found = type(error).__name__
            else:
                if answer.ok or answer.status_code in {404, 412} or _exists(answer):
                    return answer
                found = _describe(answer)
                if answer.status_code not in _MAY_PASS:
                    raise self._refused(answer)
            if attempt < tries:
                self.around.sleep(2.0 ** (attempt - 1))
        raise TransientError.of(f"{method} of the history failed", where=self.place, found=found)

    def _refused(self, answer: requests.Response) -> BackendError:
        return BackendError.of(
            "the history was refused",
            where=self.place,
            found=_describe(answer),
            expected="a container that exists, and the role Storage Blob Data Contributor on it (or a SAS: read, add, "
            "create, write, list)",
        )


def open_blob_store(url: str, around: Surroundings) -> BlobStore:
    """Open the history at an address.

    Raises:
        UsageError: it is none, a variable is not set, or there is no access to it.
    """
    address = _expand(url, around.env)
    parts = urlsplit(address)
    is_local = parts.hostname in {"127.0.0.1", "localhost"}
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise UsageError.of(
            "not an address of a container",
            where="history.url",
            found=f"scheme '{parts.scheme}'",
            expected="https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER",
        )
    # An emulated account is the first part of the path.
    names = parts.path.strip("/").split("/")
    depth = 2 if is_local else 1
    container = urlunsplit((parts.scheme, parts.netloc, "/".join(names[:depth]), "", ""))
    sas = dict(parse_qsl(parts.query))
    return BlobStore(
        around=around,
        container=container,
        prefix="/".join(names[depth:]),
        sas=sas,
        token="" if "sig" in sas else _token(around.env),
    )


def _expand(text: str, env: Env) -> str:
    missing = [name for name in _REFERENCE.findall(text) if not env.get(name)]
    if missing:
        fix = f"Set {missing[0]}."
        raise UsageError.of(f"the variable {missing[0]} is not set", where="history.url", fix=fix)
    return _REFERENCE.sub(lambda match: env[match[1]], text)


def _token(env: Env) -> str:
    """Ask the Azure command line, which the pipelines log in without a stored secret."""
    command = ["az", "account", "get-access-token", "--resource", "https://storage.azure.com/", "--output", "json"]
    try:
        answer = subprocess.run(command, capture_output=True, env=dict(env), timeout=120, check=False)
        token = json.loads(answer.stdout)["accessToken"] if answer.returncode == 0 else ""
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        token = ""
    if not isinstance(token, str) or not token:
        fix = "Log in: az login (GitHub: azure/login; Azure Pipelines: AzureCLI@2). Or give history.url a SAS."
        raise UsageError.of("no token for Azure Storage", where="history.url", fix=fix)
    return token


def _nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from taking what a .netrc file says of the host."""
    return request


def _exists(answer: requests.Response) -> bool:
    return answer.status_code == 409 and answer.headers.get("x-ms-error-code") == "BlobAlreadyExists"


def _describe(answer: requests.Response) -> str:
    code = answer.headers.get("x-ms-error-code", "")
    return f"status {answer.status_code}{f', {code}' if code else ''}"
