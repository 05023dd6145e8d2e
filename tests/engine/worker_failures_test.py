from __future__ import annotations

from llmops.engine.worker import failures


class FrameworkError(Exception):
    """Looks like one of promptflow's, some of which keep a text where others keep what they wrap."""

    __module__ = "promptflow.made_up"

    def __init__(self, message: str, inner: object) -> None:
        super().__init__(message)
        self._ex = inner


def test_a_wrapped_error_is_the_one_that_is_told() -> None:
    told = failures.describe(FrameworkError("outer", ValueError("inner")))
    assert (told["type"], told["message"]) == ("ValueError", "inner")


def test_a_text_in_the_place_of_a_wrapped_error_is_no_error() -> None:
    told = failures.describe(FrameworkError("outer", "only a text"))
    assert (told["type"], told["message"]) == ("FrameworkError", "outer")
