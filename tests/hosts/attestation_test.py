"""What GitHub's CLI says of an attestation; the double of it refuses options that the real one does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmops.hosts.attestation import find_unattested

WORKFLOW = "octo/llmops/.github/workflows/llmops-release.yml"
DOUBLE = """\
#!/bin/sh
[ "$1 $2 $4 $6" = "attestation verify --repo --signer-workflow" ] || { echo "unknown flag" >&2; exit 1; }
[ -f "$3" ] && [ "$5" = octo/cat ] && [ "$GITHUB_TOKEN" = token ] || { echo "HTTP 404: Not Found" >&2; exit 1; }
grep -q attested "$3" && [ "$7" = octo/llmops/.github/workflows/llmops-release.yml ] && exit 0
echo "Error: no attestations found for subject sha256:$(sha256sum "$3" | cut -c 1-8)" >&2
exit 1
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(DOUBLE)
    (tmp_path / "bin/gh").chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "GITHUB_REPOSITORY": "octo/cat", "GITHUB_TOKEN": "token"}


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.json"
    path.write_text(text)
    return path


def test_an_attested_file_is_no_problem(env: dict[str, str], tmp_path: Path) -> None:
    assert find_unattested(manifest(tmp_path, "attested"), workflow=WORKFLOW, env=env) is None


@pytest.mark.parametrize(
    ("text", "workflow"), [("changed", WORKFLOW), ("attested", "mallory/x/.github/workflows/y.yml")]
)
def test_a_changed_file_or_another_workflow_is_one(
    env: dict[str, str], tmp_path: Path, text: str, workflow: str
) -> None:
    problem = find_unattested(manifest(tmp_path, text), workflow=workflow, env=env)
    assert problem is not None
    assert (problem.what, problem.where) == ("no attestation of this package", f"attested by {workflow}")
    assert "no attestations found for subject sha256:" in problem.found


def test_without_the_cli_nothing_counts_as_attested(env: dict[str, str], tmp_path: Path) -> None:
    problem = find_unattested(manifest(tmp_path, "attested"), workflow=WORKFLOW, env={**env, "PATH": str(tmp_path)})
    assert problem is not None
    assert problem.what == "GitHub's CLI is not here"


def test_outside_of_github_nothing_counts_as_attested(env: dict[str, str], tmp_path: Path) -> None:
    problem = find_unattested(manifest(tmp_path, "attested"), workflow=WORKFLOW, env={**env, "GITHUB_REPOSITORY": ""})
    assert problem is not None
    assert problem.fix == "Leave --attested-by out."
