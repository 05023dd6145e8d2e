"""Find what must never be packaged: keys and passwords in a flow's files."""

from __future__ import annotations

import fnmatch
import re

from llmops.errors import Problem
from llmops.flows.closure import Closure
from llmops.flows.tree import FileTree, show

_NAMES = (".env", ".env.*", "*.pem", "*.pfx", "*.p12", "*.key", "id_rsa", "id_ed25519", ".netrc", ".pypirc", ".npmrc")
_HARMLESS = (".env.example", ".env.sample", ".env.template")
_CONTENTS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an OpenAI key": re.compile(rb"\bsk-(?:proj-)?[A-Za-z0-9_-]{32,}"),
    "an Azure storage key": re.compile(rb"AccountKey=[A-Za-z0-9+/=]{40,}"),
    "a GitHub token": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    "an AWS key": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
}


def find_secrets(tree: FileTree, closure: Closure) -> list[Problem]:
    """List the files of a closure that are, by name or content, secrets; what was found is never shown.

    Args:
        tree: where the closure was found.
        closure: the files to look through.
    """
    problems = []
    for name, source in closure.files.items():
        kind = _kind_of_name(name) or _kind_of_content(b"".join(tree.chunks(source.path)))
        if kind:
            fix = "Take it out of the flow, or list it in .gitignore; give flows secrets by connections."
            problems.append(Problem(what="a secret in the flow", where=show(tree, source.path), found=kind, fix=fix))
    return problems


def _kind_of_name(name: str) -> str:
    base = name.rpartition("/")[2].lower()
    if base in _HARMLESS or not any(fnmatch.fnmatchcase(base, pattern) for pattern in _NAMES):
        return ""
    return f"a file named {base}"


def _kind_of_content(content: bytes) -> str:
    return next((kind for kind, pattern in _CONTENTS.items() if pattern.search(content)), "")
