"""What scheduled evaluations do to the issues of a repository or project, whoever hosts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

Change = Literal["opened", "updated", "closed", "unchanged", "none"]
"""none: there is no open issue, and none was wanted."""


class Text(NamedTuple):
    """The same text for hosts that show Markdown and for those that show HTML."""

    markdown: str
    html: str


class Issues(Protocol):
    """Issues of ours, at most one open for each key; a repeated call changes nothing.

    One is found by a mark in it and by its author being us, so that nobody else's issue is ever changed. Where several
    are open for a key, because two jobs raced, the oldest stays and the others are closed.
    """

    def open(self, *, key: str, title: str, text: Text, labels: Sequence[str]) -> Change:
        """Open the issue of this key, or make the open one say `text`.

        Args:
            key: letters, digits, `.`, `_`, `-` and `:`.
            labels: of a new issue; those of an open one are left as people have set them.

        Raises:
            BackendError: it cannot be opened or changed.
        """

    def update(self, *, key: str, text: Text) -> Change:
        """Make the open issue of this key say `text`; open none.

        Raises:
            BackendError: it cannot be changed.
        """

    def close(self, *, key: str, text: Text) -> Change:
        """Close the issue of this key, if there is an open one, and make it say `text`.

        Raises:
            BackendError: it cannot be closed.
        """
