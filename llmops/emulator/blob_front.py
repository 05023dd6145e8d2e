"""The hosts of the blob service: requests pass on to Azurite, so that they are recorded and can be made to fail."""

from __future__ import annotations

from llmops.emulator.blobs import Blobs
from llmops.emulator.wire import Request, Response

_NOT_PASSED_ON = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "proxy-connection"})


SUFFIX = ".blob.core.windows.net"


def answer(blobs: Blobs, request: Request) -> Response:
    """Hand a request to Azurite and its answer back."""
    connection = blobs.azurite.connect()
    try:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED_ON}
        headers["content-length"] = str(len(request.body))
        headers["host"], target = _place(request)
        connection.request(request.method, target, request.body, headers)
        answered = connection.getresponse()
        body = answered.read()
    finally:
        connection.close()
    kept = {name: value for name, value in answered.getheaders() if name.lower() not in _NOT_PASSED_ON}
    if request.method == "HEAD" and answered.getheader("Content-Length"):
        kept["Content-Length"] = answered.getheader("Content-Length", "0")
    return Response(status=answered.status, headers=kept, body=body)


def _place(request: Request) -> tuple[str, str]:
    """Tell host and target; in a cloud of one's own, the path begins with the host."""
    first, _, rest = request.target.lstrip("/").partition("/")
    return (first, f"/{rest}") if first.endswith(SUFFIX) else (request.host, request.target)
