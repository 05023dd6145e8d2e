"""Blobs: signatures for clients, and the emulator's own reading and writing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.emulator.azurite_process import Account, Azurite
from llmops.errors import BackendError

_VERSION = "2020-12-06"
_SKEW_S = 300
_DAY_S = 86400.0


def sign_container(account: Account, container: str, *, lifetime_s: float = 3600.0, permissions: str = "racwdl") -> str:
    """Make the query of a service signature for a container; it starts five minutes ago, because clocks differ.

    Args:
        account: whose key signs.
        container: what may be reached.
        lifetime_s: from now.
        permissions: letters in the order that the service demands.

    Source: https://learn.microsoft.com/rest/api/storageservices/create-service-sas, version 2020-12-06.
    """
    start, end = _stamp(-_SKEW_S), _stamp(lifetime_s)
    resource = f"/blob/{account.name}/{container}"
    fields = [permissions, start, end, resource, "", "", "https", _VERSION, "c", "", "", "", "", "", "", ""]
    signature = _hmac(account.key, "\n".join(fields))
    query = {"sp": permissions, "st": start, "se": end, "spr": "https", "sv": _VERSION, "sr": "c"}
    return urllib.parse.urlencode({**query, "sig": signature})


def _sign_account(account: Account) -> str:
    """Make the query of an account signature, for the emulator itself: all permissions on blobs."""
    start, end = _stamp(-_SKEW_S), _stamp(_DAY_S)
    fields = [account.name, "rwdlacup", "b", "sco", start, end, "", "https", _VERSION, "", ""]
    query = {"sp": "rwdlacup", "ss": "b", "srt": "sco", "st": start, "se": end, "spr": "https", "sv": _VERSION}
    return urllib.parse.urlencode({**query, "sig": _hmac(account.key, "\n".join(fields))})


def _stamp(offset_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset_s))


def _hmac(key: str, text: str) -> str:
    digest = hmac.new(base64.b64decode(key), text.encode("utf-8"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")


@dataclass(frozen=True)
class Blobs:
    """The blobs of the one account.

    Args:
        azurite: that holds them.
    """

    azurite: Azurite

    @property
    def account(self) -> Account:
        """The account."""
        return self.azurite.account

    def make_container(self, container: str) -> None:
        """Make a container unless there is one."""
        self._send("PUT", container, {"restype": "container"}, accepted=(201, 409))

    def write(self, container: str, path: str, content: bytes) -> None:
        """Write a blob over what is there."""
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        self._send("PUT", f"{container}/{urllib.parse.quote(path)}", {}, content, headers, accepted=(201,))

    def read(self, container: str, path: str) -> bytes:
        """Read a blob.

        Raises:
            FileNotFoundError: there is none.
        """
        status, body = self._send("GET", f"{container}/{urllib.parse.quote(path)}", {}, accepted=(200, 404))
        if status == 404:
            raise FileNotFoundError(f"no blob '{path}' in container '{container}'")
        return body

    def delete(self, container: str, path: str) -> None:
        """Delete a blob if there is one."""
        self._send("DELETE", f"{container}/{urllib.parse.quote(path)}", {}, accepted=(202, 404))

    def names(self, container: str, prefix: str) -> Iterator[str]:
        """Yield the names of the blobs below a prefix."""
        query = {"restype": "container", "comp": "list", "prefix": prefix}
        marker = ""
        while True:
            _, body = self._send("GET", container, {**query, **({"marker": marker} if marker else {})}, accepted=(200,))
            root = ET.fromstring(body)  # noqa: S314 our own child process wrote it
            yield from (name.text or "" for name in root.iterfind("Blobs/Blob/Name"))
            marker = root.findtext("NextMarker") or ""
            if not marker:
                return

    def download(self, container: str, prefix: str, folder: Path) -> None:
        """Write all blobs below a prefix into a folder, which need not exist.

        Raises:
            FileNotFoundError: there is none.
        """
        stem = prefix.rstrip("/") + "/"
        names = list(self.names(container, stem))
        if not names:
            raise FileNotFoundError(f"no blobs below '{stem}' in container '{container}'")
        for name in names:
            target = folder / name[len(stem) :]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(container, name))

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        accepted: tuple[int, ...],
    ) -> tuple[int, bytes]:
        connection = self.azurite.connect()
        try:
            signed = "&".join(filter(None, [urllib.parse.urlencode(query), _sign_account(self.account)]))
            sent = {"x-ms-version": _VERSION, "Content-Length": str(len(body)), **(headers or {})}
            connection.request(method, f"/{self.account.name}/{path}?{signed}", body, sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status not in accepted:
            raise BackendError.of(
                f"Azurite answered {answer.status}",
                where=f"{method} {path}",
                found=content[:500].decode("utf-8", "replace"),
            )
        return answer.status, content
