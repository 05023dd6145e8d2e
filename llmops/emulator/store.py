"""The state of the emulated service: JSON documents under paths, as Azure Resource Manager sees resources."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Store:
    """Documents by path; names compare without case, and a document is always copied in and out.

    Args:
        file: state that outlives the process; None keeps it in memory.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._documents: dict[str, str] = {}
        if file is not None and file.exists():
            self._documents = json.loads(file.read_text(encoding="utf-8"))

    def get(self, *path: str) -> Document | None:
        """Return a document, None when there is none."""
        with self._lock:
            text = self._documents.get(_key(path))
        return None if text is None else json.loads(text)

    def put(self, *path: str, document: Document) -> Document:
        """Store a document; a new one comes after all others."""
        with self._lock:
            self._documents[_key(path)] = json.dumps(document, default=str)
            self._save()
        return document

    def update(self, *path: str, change: Callable[[Document], None]) -> Document | None:
        """Change a document in one step; None when there is none."""
        with self._lock:
            document = self.get(*path)
            if document is not None:
                change(document)
                self.put(*path, document=document)
        return document

    def add(self, *path: str, document: Document) -> bool:
        """Store a document unless there is one; tell whether it was stored."""
        with self._lock:
            if _key(path) in self._documents:
                return False
            self.put(*path, document=document)
        return True

    def children(self, *path: str) -> list[Document]:
        """Return the documents one level below a path, oldest first."""
        prefix = _key(path) + "/"
        with self._lock:
            texts = [
                text
                for key, text in self._documents.items()
                if key.startswith(prefix) and "/" not in key[len(prefix) :]
            ]
        return [json.loads(text) for text in texts]

    def delete(self, *path: str) -> bool:
        """Delete a document and all below it; tell whether there was any."""
        key = _key(path)
        with self._lock:
            found = [name for name in self._documents if name == key or name.startswith(key + "/")]
            for name in found:
                del self._documents[name]
            if found:
                self._save()
        return bool(found)

    def _save(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._documents), encoding="utf-8")
        os.replace(temporary, self._file)


def _key(path: tuple[str, ...]) -> str:
    return "/".join(part.replace("/", "%2f") for part in path).lower()
