"""Clients that never stop asking, for tests of what must not be noticed."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections import Counter

from llmops.backends.local.endpoints import LocalEndpoints

QUESTION = "live"


class Load:
    """Sends one request after the other over each of some connections, for the length of a `with` block.

    Attributes:
        answers: status (0 for none) and deployment, or what went wrong, to how often.
    """

    def __init__(self, endpoints: LocalEndpoints, endpoint: str, *, connections: int = 4) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self._stored = endpoints.stored(endpoint)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(connections)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def statuses(self) -> set[int]:
        """Every status that was seen."""
        return {status for status, _ in self.answers}

    @property
    def deployments(self) -> set[str]:
        """Every deployment that answered."""
        return {name for _, name in self.answers}

    def _send(self) -> None:
        headers = {"authorization": f"Bearer {self._stored.keys['primary']}", "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self._stored.port, timeout=60)
        with contextlib.closing(connection):
            while not self._stop.wait(0.02):
                try:
                    connection.request("POST", "/score", json.dumps({"question": QUESTION}), headers)
                    response = connection.getresponse()
                    response.read()
                    self._count(response.status, response.headers.get("azureml-model-deployment", ""))
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    self._count(0, repr(error))

    def _count(self, status: int, what: str) -> None:
        with self._lock:
            self.answers[status, what] += 1
