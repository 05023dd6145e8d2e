"""What the data plane answers to."""

from __future__ import annotations

from llmops.emulator.routing import Router


def router() -> Router:
    """Build the routes of the data plane."""
    return Router()
