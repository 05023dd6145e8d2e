"""The page on Azure says what can be set and which roles are needed; neither needs the SDKs."""

from __future__ import annotations

from pathlib import Path

from llmops.backends.azure.roles import COMMANDS
from llmops.backends.azure.serving import AzureServing
from llmops.config.schema import class_table


def test_the_page_lists_every_setting(root: Path) -> None:
    assert class_table(AzureServing) in (root / "docs" / "azure.md").read_text(encoding="utf-8")


def test_the_page_lists_every_action_of_every_command(root: Path) -> None:
    page = (root / "docs" / "azure.md").read_text(encoding="utf-8").splitlines()
    for command, needs in COMMANDS.items():
        (row,) = (line for line in page if line.startswith(f"| {command} |"))
        short = [need.action.replace("Microsoft.MachineLearningServices/workspaces/", "…/") for need in needs]
        assert [action for action in short if f"`{action}`" not in row] == []
