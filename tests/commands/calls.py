"""The commands of delivery on the experiment `tiny`, called as the command line calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llmops.commands.context import Context
from llmops.commands.deploy import deploy
from llmops.commands.promote import promote
from llmops.commands.register import register
from llmops.commands.rollback import rollback
from llmops.commands.targets import Tools
from llmops.config.layers import Options

LEFT_OUT: Mapping[Callable[..., int], Mapping[str, Any]] = {
    register: {"run": None, "without_verdict": None, "flags": Options()},
    deploy: {"environment": "dev", "version": None, "strategy": None, "dry_run": False, "clean": False},
    promote: {
        "source": "dev",
        "to": "prod",
        "version": None,
        "approvals": (),
        "attested_by": None,
        "evidence": None,
        "strategy": None,
    },
    rollback: {"environment": "dev", "to": None, "reason": "a test wants it"},
}
"""What each command is given where a test does not say anything else."""


class Silence:
    """`Progress` for nobody."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """See `Progress.update`."""

    def close(self) -> None:
        """See `Progress.close`."""


class Caller(Protocol):
    """Whose project and whose backend it is."""

    @property
    def context(self) -> Context: ...

    @property
    def tools(self) -> Tools: ...


def call(caller: Caller, command: Callable[..., int], **options: Any) -> int:
    """Call a command of delivery; options that are left out are those of `LEFT_OUT`. Returns the exit code."""
    given = {"json_output": False, **LEFT_OUT[command], **options}
    return command(context=caller.context, tools=caller.tools, experiment="tiny", **given)
