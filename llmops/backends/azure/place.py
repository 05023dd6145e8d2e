"""Where models are kept: the little in which a workspace and a registry differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from llmops.backends.azure.arm import Document
from llmops.releases import EvidenceRef, ModelRecord

Describe = Callable[[str], Document]
"""Makes the body of a model of the address of its files."""

TAKEN = re.compile(
    r"paths cannot be updated|cannot be recreated|was deleted at|asset .*already exists", re.IGNORECASE | re.DOTALL
)
"""What Azure says when a version was given to other content, or deleted."""


class Staged(NamedTuple):
    """The files of a model on this machine.

    Attributes:
        address: digest of the package's manifest, which all of its content follows from.
    """

    folder: Path
    address: str

    def files(self) -> Mapping[str, Path]:
        """Return the files by their paths in the folder."""
        found = (file for file in sorted(self.folder.rglob("*")) if file.is_file())
        return {file.relative_to(self.folder).as_posix(): file for file in found}


class Place(Protocol):
    """Keeps models as Azure describes them; every method may raise what `Registry` may."""

    def model_id(self, name: str, version: str) -> str:
        """Return what a deployment calls a version."""

    def names(self) -> Sequence[str]:
        """Return the names that there are."""

    def versions(self, name: str) -> list[Document]:
        """Return the versions of a name, in no certain order and maybe without the newest; an unknown name has none."""

    def get(self, name: str, version: str) -> Document | None:
        """Return one version, None when there is none."""

    def create(self, name: str, version: str, staged: Staged, describe: Describe) -> bool:
        """Upload what is not there yet, and register it.

        Guarantees: once it returns, `get` shows whoever has the version, unless that was deleted.

        Returns:
            False when the version was given to somebody else or deleted; it may have been given to the same content.
        """

    def download(self, found: Document, part: str, folder: Path, what: str) -> int:
        """Write the files of a version below `part` into a folder.

        Returns:
            How many there were.
        """

    def evidence(self, name: str, version: str) -> Sequence[EvidenceRef]:
        """Return the documents that came later, oldest first."""

    def all_evidence(self) -> Mapping[tuple[str, str], Sequence[EvidenceRef]]:
        """Return the same for all names and versions."""

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes, what: str) -> None:
        """Keep a document; one that is there already is fine."""

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef, what: str) -> bytes | None:
        """Return the bytes of a document, None when it is gone."""
