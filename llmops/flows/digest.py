"""The name of a flow's content: one SHA-256 over the names and bytes of its closure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping

from llmops.flows.closure import Closure
from llmops.flows.tree import FileTree

_FLOW = b"llmops flow 1\n"
_OVERLAY = b"llmops overlay 1\n"


def hash_files(tree: FileTree, closure: Closure) -> dict[str, str]:
    """Hash every file of a closure.

    Returns:
        Name to the 64 hexadecimal digits of the SHA-256 over its bytes, in the closure's order.

    Raises:
        UsageError: a file cannot be read.
    """
    return {name: _hash_chunks(tree.chunks(source.path)) for name, source in closure.files.items()}


def digest_files(files: Mapping[str, str]) -> str:
    """Compute a flow's digest.

    The digest is the SHA-256 over `llmops flow 1` and a newline, then for each name in the order of its UTF-8 bytes:
    the length of the name in bytes (8 bytes, big-endian), the name, and the 32 bytes of the SHA-256 of its content.

    Args:
        files: name to hexadecimal SHA-256, see `hash_files`; in any order.

    Returns:
        `sha256:` and 64 hexadecimal digits.
    """
    total = hashlib.sha256(_FLOW)
    for name, content in sorted((name.encode(), bytes.fromhex(content)) for name, content in files.items()):
        total.update(_framed(name) + content)
    return f"sha256:{total.hexdigest()}"


def digest_closure(tree: FileTree, closure: Closure) -> str:
    """Compute the digest of a closure; see `digest_files`."""
    return digest_files(hash_files(tree, closure))


def digest_with_overlay(digest: str, overlay: Mapping[str, str]) -> str:
    """Combine a digest with what overlays the flow, see `FlowRef.overlay`.

    Returns:
        The digest itself when there is no overlay; else the SHA-256 over `llmops overlay 1` and a newline, the digest,
        and the sorted keys and values, each text after its length.
    """
    if not overlay:
        return digest
    total = hashlib.sha256(_OVERLAY + _framed(digest.encode()))
    for key, value in sorted(overlay.items()):
        total.update(_framed(key.encode()) + _framed(value.encode()))
    return f"sha256:{total.hexdigest()}"


def _framed(text: bytes) -> bytes:
    return struct.pack(">Q", len(text)) + text


def _hash_chunks(chunks: Iterable[bytes]) -> str:
    content = hashlib.sha256()
    for chunk in chunks:
        content.update(chunk)
    return content.hexdigest()
