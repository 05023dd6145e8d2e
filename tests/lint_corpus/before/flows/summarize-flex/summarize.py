from __future__ import annotations

import textwrap

from promptflow.tracing import trace


class Summarizer:
    def __init__(self, width: int = 60) -> None:
        self.width = width

    @trace
    def __call__(self, text: str) -> dict[str, str]:
        return {"summary": textwrap.shorten(text, self.width)}
