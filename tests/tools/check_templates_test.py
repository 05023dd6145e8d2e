"""The checks of our pipelines find what they are for: each defect is planted into a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.check_templates import CHECKS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("node_packages")]

PULL_REQUEST = ".github/workflows/llmops-pull-request.yml"
PROMOTE = ".github/workflows/llmops-promote.yml"
SETUP = ".github/actions/setup/action.yml"
AZURE_CHECK = "azure-pipelines/jobs/check.yml"

DEFECTS = [
    ("GitHub's language service", PULL_REQUEST, "needs.plan.outputs.count", "needs.plam.outputs.count", "plam"),
    ("GitHub's language service", PULL_REQUEST, "fetch-depth: 0", "fetch-dept: 0", "fetch-dept"),
    (
        "GitHub's language service",
        PULL_REQUEST,
        "python-version: ${{ inputs.",
        "python-versoin: ${{ inputs.",
        "versoin",
    ),
    ("Azure's language service", AZURE_CHECK, "displayName: Check", "displayNmae: Check", "displayNmae"),
    ("Azure's language service", AZURE_CHECK, "PublishTestResults@2", "PublishTestResult@2", "String does not match"),
    ("Azure's language service", AZURE_CHECK, "testResultsFormat", "testResultFormat", "testResultFormat"),
    ("zizmor", PULL_REQUEST, "persist-credentials: false", "clean: true", "artipacked"),
    ("zizmor", PULL_REQUEST, "permissions: {}", "permissions: write-all", "excessive-permissions"),
    ("zizmor", PULL_REQUEST, '"$RESULTS" --exp', '"${{ github.head_ref }}" --exp', "template-injection"),
    ("schema", PULL_REQUEST, "timeout-minutes: 15", "timeout-minutes: soon", "timeout-minutes"),
    ("yamllint", AZURE_CHECK, "dependsOn: plan", "dependsOn: plan\n    dependsOn: plan", "duplication"),
    ("shellcheck and scripts", PULL_REQUEST, 'check -- "${names[@]}"', "check $EXPERIMENTS", "SC2086"),
    ("shellcheck and scripts", PULL_REQUEST, '"${names[@]}"', '"${{ matrix.name }}"', "an expression inside"),
    ("shellcheck and scripts", AZURE_CHECK, '"${names[@]}"', "$(Build.SourceBranch)", "an expression inside"),
    ("shellcheck and scripts", AZURE_CHECK, "          set -euo pipefail\n", "", "does not start with"),
    ("shellcheck and scripts", SETUP, "        ln -sf", "        true\n        ln -sf", "4 lines of shell"),
    ("shellcheck and scripts", PULL_REQUEST, 'check -- "$', 'check "$', "may look like an option"),
    (
        "shellcheck and scripts",
        PROMOTE,
        '--version "$VERSION" -- "$',
        '--version "$VERSION" "$',
        "may look like an option",
    ),
    ("our rules", PULL_REQUEST, "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "neither pinned"),
    ("our rules", PULL_REQUEST, "    timeout-minutes: 15\n", "", "no time limit"),
    (
        "our rules",
        PULL_REQUEST,
        "      contents: read # to check out\n    strategy:",
        "      contents: write\n    strategy:",
        "reads a cache that a pull request may have written",
    ),
    ("our rules", PULL_REQUEST, "    permissions:\n      contents: read # to check out\n", "", "permissions"),
]


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    for folder in (".github", "azure-pipelines"):
        shutil.copytree(root / folder, tmp_path / folder)
    return tmp_path


@pytest.mark.parametrize(("check", "file", "old", "new", "expected"), DEFECTS)
def test_a_planted_defect_is_found(copy: Path, check: str, file: str, old: str, new: str, expected: str) -> None:
    text = (copy / file).read_text(encoding="utf-8")
    assert old in text
    (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    assert expected in "\n".join(CHECKS[check](copy))


@pytest.mark.parametrize("check", CHECKS)
def test_our_pipelines_are_found_faultless(root: Path, check: str) -> None:
    assert list(CHECKS[check](root)) == []
