"""GitHub's expressions, evaluated by GitHub's own npm package in one Node process."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PARTS = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_STATUS = re.compile(r"\b(success|failure|always|cancelled)\s*\(")


class Expressions:
    """Evaluates expressions until it is closed."""

    def __init__(self, node: Path, packages: Path) -> None:
        script = Path(__file__).with_name("expressions.mjs")
        command = [str(node), str(script), str(packages)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        self._process.communicate()

    def evaluate(self, expression: str, contexts: Mapping[str, Any], status: Mapping[str, bool] | None = None) -> Any:
        """Give the value of an expression without its braces."""
        return self._ask(expression, contexts, status or {})["value"]

    def holds(self, condition: str | None, contexts: Mapping[str, Any], status: Mapping[str, bool]) -> bool:
        """Judge an `if`; without a status function in it, everything before must have succeeded."""
        text = (condition or "success()").strip()
        text = text[3:-2].strip() if text.startswith("${{") and text.endswith("}}") else text
        if not _STATUS.search(text):
            text = f"success() && ({text})"
        return bool(self.evaluate(text, contexts, status))

    def fill(self, value: Any, contexts: Mapping[str, Any]) -> Any:
        """Replace the expressions in a text, or in all texts of a mapping or list; a lone one keeps its type."""
        if isinstance(value, dict):
            return {key: self.fill(item, contexts) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, contexts) for item in value]
        if not isinstance(value, str):
            return value
        lone = re.fullmatch(r"\s*\$\{\{((?:(?!\}\}).)*)\}\}\s*", value, re.DOTALL)
        if lone:
            return self.evaluate(lone[1], contexts)
        return _PARTS.sub(lambda part: str(self._ask(part[1], contexts, {})["text"]), value)

    def _ask(self, expression: str, contexts: Mapping[str, Any], status: Mapping[str, bool]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = {"expression": expression.strip(), "contexts": contexts, "status": status}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{expression}: {answer['error']}"
        return answer
