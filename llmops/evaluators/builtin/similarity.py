"""Similarity of two texts by the embeddings of the user's own deployment."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

TIMEOUT_S = 60.0


class Similarity:
    """Cosine of the embeddings of prediction and reference, from -1 to 1.

    The address and the key come as environment variables of the worker; `model` is the model or deployment.

    Source: https://platform.openai.com/docs/api-reference/embeddings
    """

    def __init__(self, *, connection: str, model: str) -> None:
        self._connection = connection
        self._model = model

    @staticmethod
    def environment(options: Mapping[str, Any]) -> dict[str, str]:
        """Return the environment variables that the worker needs, as references to the connection."""
        name = options.get("connection", "")
        fields = ("base_url", "api_base", "api_version", "api_key")
        return {f"LLMOPS_EMBEDDING_{field.upper()}": f"${{{name}.{field}}}" for field in fields}

    def __call__(self, prediction: Any, reference: Any) -> dict[str, float]:
        first, second = self._embed([str(prediction), str(reference)])
        return {"similarity": cosine(first, second)}

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        key = os.environ.get("LLMOPS_EMBEDDING_API_KEY", "")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", "api-key": key}
        body = json.dumps({"model": self._model, "input": list(texts)}).encode()
        request = urllib.request.Request(self._address(), data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            message = f"the embeddings of connection {self._connection!r} answered HTTP {error.code}"
            raise ConnectionError(message) from error
        return [entry["embedding"] for entry in sorted(answer["data"], key=lambda entry: entry["index"])]

    def _address(self) -> str:
        base = _known("BASE_URL")
        if base:
            return f"{base.rstrip('/')}/embeddings"
        version = _known("API_VERSION")
        return f"{_known('API_BASE').rstrip('/')}/openai/deployments/{self._model}/embeddings?api-version={version}"


def _known(field: str) -> str:
    """Return a field of the connection; a reference that was not resolved is a field that it does not have."""
    value = os.environ.get(f"LLMOPS_EMBEDDING_{field}", "")
    return "" if value.startswith("${") else value


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the cosine of two vectors; 0 when one has no length."""
    length = math.hypot(*first) * math.hypot(*second)
    return sum(a * b for a, b in zip(first, second, strict=True)) / length if length else 0.0
