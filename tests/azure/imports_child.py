"""Run by `imports_test.py` in a process of its own: one command, and what it imported for it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

HEAVY = ("azure", "promptflow", "msal", "requests", "httpx")


class Watcher:
    """Looks on while modules are searched for; finds none itself.

    Attributes:
        threads: name of a module to the thread that first wanted it.
    """

    def __init__(self) -> None:
        self.threads: dict[str, str] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        del path, target
        self.threads.setdefault(name, threading.current_thread().name)
        return None


def main(arguments: Sequence[str]) -> None:
    """Run a command, and write its exit code and its heavy imports."""
    watcher = Watcher()
    sys.meta_path.insert(0, watcher)
    from llmops.cli.main import main as run

    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = run(list(arguments))
    heavy = {name: thread for name, thread in watcher.threads.items() if name in sys.modules and name in INTERESTING}
    print(json.dumps({"code": int(code), "errors": errors.getvalue(), "imported": heavy}))  # noqa: T201


INTERESTING = {*HEAVY, "azure.core", "azure.identity", "azure.ai.ml", "azure.storage.blob", "promptflow.azure"}

if __name__ == "__main__":
    main(sys.argv[1:])
