"""Where an endpoint's files are, below `.llmops/endpoints/`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STATE = "state.sqlite"


@dataclass(frozen=True)
class Places:
    """The files of one endpoint.

    Args:
        folder: `.llmops/endpoints/<name>`.
    """

    folder: Path

    @property
    def state(self) -> Path:
        """The project's `.llmops/` folder."""
        return self.folder.parents[1]

    @property
    def router(self) -> Path:
        """Process id, port and token of the router that runs; the user's alone."""
        return self.folder / "router.json"

    @property
    def lock(self) -> Path:
        """Held by the router for as long as it lives."""
        return self.folder / "router.lock"

    @property
    def log(self) -> Path:
        """What the router itself has to say."""
        return self.folder / "router.log"

    @property
    def requests(self) -> Path:
        """What became of each request."""
        return self.folder / "requests.sqlite"

    @property
    def captured(self) -> Path:
        """Live requests with their answers, where there is consent."""
        return self.folder / "captured.sqlite"

    def deployment(self, folder: str) -> Path:
        """The folder of one deployment."""
        return self.folder / "deployments" / folder

    def package(self, folder: str) -> Path:
        """The deployment's copy of its package, never written."""
        return self.deployment(folder) / "package"

    def run(self, folder: str, router: int) -> Path:
        """The copy that the process runs in, new at each start; `router` is the process id of who starts it."""
        return self.deployment(folder) / f"run-{router}"

    def code(self, router: int) -> Path:
        """A router's own copy of the code that serving processes run."""
        return self.folder / f"code-{router}"

    def leavings(self) -> Iterator[Path]:
        """Yield the folders that routers made which are gone."""
        for path in [*self.folder.glob("code-*"), *self.folder.glob("deployments/*/run-*")]:
            number = path.name.partition("-")[2]
            if number.isdecimal() and not _is_alive(int(number)):
                yield path

    def serving_log(self, folder: str) -> Path:
        """What the serving process writes."""
        return self.deployment(folder) / "serving.log"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
