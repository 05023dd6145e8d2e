"""Where an endpoint's files are, below `.llmops/endpoints/`."""

from __future__ import annotations

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

    def run(self, folder: str) -> Path:
        """The copy that the process runs in, new at each start."""
        return self.deployment(folder) / "run"

    def serving_log(self, folder: str) -> Path:
        """What the serving process writes."""
        return self.deployment(folder) / "serving.log"
