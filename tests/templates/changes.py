"""What a pull request changes in these tests, and the texts that try to be more than texts."""

from __future__ import annotations

import subprocess

from tests.projects import TinyProject

HOSTILE = (
    "\"; echo pwned > pwned; $(touch pwned) `touch pwned` ${{ secrets.X }} '\n::error::pwned\n##vso[task.complete]"
)
"""A title, branch, row or answer that a shell, a runner or an expression would obey."""


def break_answers(project: TinyProject) -> None:
    """Let the flow answer every question wrongly."""
    project.replace("flows/answer/answer.py", "[::-1]", "[::-2]")


def commit_on_branch(project: TinyProject, branch: str = "feature") -> str:
    """Commit what changed on a branch; give the commit."""
    git = ["git", "-C", str(project.root)]
    subprocess.run([*git, "switch", "-q", "-C", branch], check=True)
    project.commit("change")
    return head_of(project)


def head_of(project: TinyProject) -> str:
    """Give the commit that the project stands at."""
    answer = subprocess.run(
        ["git", "-C", str(project.root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()
