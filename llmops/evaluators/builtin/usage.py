"""What a line took: seconds, tokens, money."""

from __future__ import annotations

from typing import Any


class Usage:
    """Pass on what the engine measured; what it does not know is an error, never 0."""

    def __call__(self, **measured: Any) -> dict[str, float]:
        unknown = sorted(name for name, value in measured.items() if value is None)
        if unknown:
            raise ValueError(f"not known of this line: {', '.join(unknown)}")
        return {name: float(value) for name, value in measured.items()}
