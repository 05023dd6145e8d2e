"""What the commands do to a pull request, whoever hosts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from llmops.hosts.host import Annotation

Posted = Literal["created", "updated", "unchanged"]
State = Literal["pass", "fail", "inconclusive", "error"]


class PullRequest(Protocol):
    """One pull request; a repeated call changes nothing."""

    def put_comment(self, body: str, *, key: str, is_open: bool) -> Posted:
        """Make the comment of this key say `body`.

        There is one comment per key: found by a hidden mark and by its author being us, so that nobody else's comment
        is ever changed.

        Args:
            key: letters, digits, `.`, `_` and `-`.
            is_open: whether something is left to do; a thread that can be closed is closed otherwise.

        Raises:
            BackendError: it cannot be posted.
        """

    def put_status(
        self, *, name: str, state: State, summary: str, link: str, annotations: Sequence[Annotation] = ()
    ) -> None:
        """Make the status of this name say how the checks ended, for the newest commit of the pull request.

        Raises:
            BackendError: it cannot be set.
        """
