"""Who runs this command, and in which run of which CI system."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from typing import NamedTuple


class Identity(NamedTuple):
    """Who, for people; and the address of the CI system's run, empty on a laptop."""

    name: str
    link: str


def identify(env: Mapping[str, str]) -> Identity:
    """Say who runs this command.

    Source: the default variables of GitHub Actions and the predefined variables of Azure Pipelines.
    """
    if env.get("GITHUB_ACTIONS") == "true":
        run = f"{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{env.get('GITHUB_RUN_ID', '')}"
        link = f"{env.get('GITHUB_SERVER_URL', 'https://github.com')}/{run}"
        return Identity(env.get("GITHUB_ACTOR", "GitHub Actions"), link)
    if env.get("TF_BUILD"):
        project = env.get("SYSTEM_COLLECTIONURI", "") + env.get("SYSTEM_TEAMPROJECT", "")
        link = f"{project}/_build/results?buildId={env.get('BUILD_BUILDID', '')}"
        return Identity(env.get("BUILD_REQUESTEDFOR", "Azure Pipelines"), link)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return Identity(f"{user}@{socket.gethostname()}", "")
