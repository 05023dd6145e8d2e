"""Whether GitHub has attested that a workflow made a file.

Source: the manual of GitHub's CLI, `gh attestation verify`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from llmops.errors import Problem
from llmops.hosts.host import Env

TIMEOUT_S = 120.0


def find_unattested(file: Path, *, workflow: str, env: Env) -> Problem | None:
    """Ask GitHub's CLI whether a workflow has attested the very bytes of a file; give the problem when it has not.

    Args:
        file: whose SHA-256 is the subject.
        workflow: `OWNER/REPOSITORY/.github/workflows/FILE.yml` that must have signed.
        env: `GITHUB_REPOSITORY` names the repository that the attestation belongs to; `GITHUB_TOKEN` reads it.
    """
    where = f"attested by {workflow}"
    repository = env.get("GITHUB_REPOSITORY", "")
    if not repository:
        return Problem(what="attestations are known on GitHub alone", where=where, fix="Leave --attested-by out.")
    command = ["gh", "attestation", "verify", str(file), "--repo", repository, "--signer-workflow", workflow]
    try:
        answer = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, check=False, timeout=TIMEOUT_S, errors="replace"
        )
    except FileNotFoundError:
        return Problem(what="GitHub's CLI is not here", where=where, expected="gh on the path")
    except subprocess.TimeoutExpired:
        return Problem(what="GitHub's CLI did not answer", where=where, found=f"nothing in {TIMEOUT_S:.0f} s")
    if answer.returncode == 0:
        return None
    fix = "Release it with `attest: true`; a private repository needs GitHub Enterprise Cloud for that."
    return Problem(
        what="no attestation of this package", where=where, found=" ".join(answer.stderr.split())[:300], fix=fix
    )
