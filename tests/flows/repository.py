"""Real repositories in temporary folders."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.flows.closure import Closure, find_closure
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import FileTree, WorkingTree

IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{role}_NAME": "Test" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "test@example.invalid" for role in ("AUTHOR", "COMMITTER")},
}

DAG = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${answer.output}"}
nodes:
- name: answer
  type: python
  source: {type: code, path: answer.py}
  inputs: {question: "${inputs.question}"}
"""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A folder of files, and a git repository once `commit` is called."""

    root: Path

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, name: str, target: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).symlink_to(target)

    def git(self, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "-c", "protocol.file.allow=always", *arguments]
        answer = subprocess.run(
            command, cwd=self.root, env={**environment, **IDENTITY}, check=True, capture_output=True
        )
        return answer.stdout.decode().strip()

    def commit(self, message: str = "change") -> str:
        if not (self.root / ".git").exists():
            self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


def closure_of(tree: FileTree | Repository, path: str = "flows/qa") -> Closure:
    tree = WorkingTree(tree.root) if isinstance(tree, Repository) else tree
    return find_closure(tree, read_flow_in(tree, path))


def origins_of(tree: FileTree | Repository, path: str = "flows/qa") -> dict[str, str]:
    return {name: source.origin for name, source in closure_of(tree, path).files.items()}


def digest_of(tree: FileTree | Repository, path: str = "flows/qa") -> str:
    tree = WorkingTree(tree.root) if isinstance(tree, Repository) else tree
    return digest_closure(tree, closure_of(tree, path))
