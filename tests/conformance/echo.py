"""A model that answers with what it was asked, so that two engines that ask the same get the same answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSED = "bad request"
"""A prompt with this text is answered with HTTP 400."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = json.dumps({"path": self.path, **body}, sort_keys=True, ensure_ascii=False)
        if REFUSED in text:
            self._answer(400, {"error": {"message": "refused", "type": "invalid_request_error"}})
        elif self.path.endswith("/embeddings"):
            self._answer(200, _embedding(body))
        elif body.get("stream"):
            self._stream(_pieces(text))
        else:
            is_chat = self.path.partition("?")[0].endswith("/chat/completions")
            self._answer(200, _completion(text, is_chat=is_chat, choices=body.get("n") or 1))

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, pieces: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing."""


def _completion(text: str, *, is_chat: bool, choices: int) -> dict[str, Any]:
    answer = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
    kind = "chat.completion" if is_chat else "text_completion"
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    listed = [{"index": index, "finish_reason": "stop", **answer} for index in range(choices)]
    return {"id": "1", "object": kind, "created": 1, "model": "echo", "choices": listed, "usage": usage}


def _pieces(text: str) -> Iterator[dict[str, Any]]:
    """Yield an answer of the chat API a few letters at a time."""
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "echo"}
    for start in range(0, len(text), 40):
        delta = {"content": text[start : start + 40]}
        yield {**head, "choices": [{"index": 0, "finish_reason": None, "delta": delta}]}
    yield {**head, "choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]}


def _embedding(body: dict[str, Any]) -> dict[str, Any]:
    vector = [float(len(body["input"])), float(len(body["model"]))]
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    return {"object": "list", "data": data, "model": "echo", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


@contextmanager
def serve_echo() -> Iterator[str]:
    """Serve it; yields the address without a path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
