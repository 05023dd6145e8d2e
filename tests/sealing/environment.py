"""The environment variables that tests and their child processes see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CHILD = Path(__file__).parent / "child"
DEAD_PROXY = "http://127.0.0.1:9"

SECRET_PREFIXES = (
    *("ANTHROPIC_", "ARM_", "AWS_", "AZURE_", "COHERE_", "GEMINI_", "GH_", "GITHUB_", "GOOGLE_", "HF_"),
    *("HUGGING", "IDENTITY_", "MISTRAL_", "MSI_", "OPENAI_", "SERPAPI_", "SYSTEM_ACCESSTOKEN"),
)
SECRET_ENDINGS = ("_API_KEY", "_CREDENTIALS", "_PASSWORD", "_SECRET", "_TOKEN")

HOST_PREFIXES = (
    *("AGENT_", "BUILD_", "CI", "GIT_", "LLMOPS_", "MAKE", "MFLAGS", "OTEL_", "PF_", "PROMPTFLOW_", "PYTEST_ADDOPTS"),
    *("PYTHON", "RUNNER_", "SYSTEM_", "TF_BUILD", "VIRTUAL_ENV", "XDG_"),
)
"""What tells of the CI system, the shell or the person that started the tests."""

OURS = frozenset({"LLMOPS_NO_SKIPS"})
"""Read by the suite itself, in its parallel workers too."""

TERMINAL = frozenset({"CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"})


def is_secret(name: str) -> bool:
    """Tell whether a variable may hold a credential, or name the account of one."""
    return name.upper().startswith(SECRET_PREFIXES) or name.upper().endswith(SECRET_ENDINGS)


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Leave out what may hold a credential; for children that install packages."""
    return {name: value for name, value in env.items() if not is_secret(name)}


def sealed(env: Mapping[str, str], home: Path) -> dict[str, str]:
    """Derive the environment of the suite from the one that it was started in.

    Args:
        env: what the suite was started in.
        home: an empty folder that stands for the home folder.
    """
    kept = {
        name: value
        for name, value in without_secrets(env).items()
        if name in OURS or not (name.startswith(HOST_PREFIXES) or name in TERMINAL or name.lower().endswith("_proxy"))
    }
    return {**kept, **_folders(home), **_network(), **_git(), **_locale(), "PYTHONPATH": str(CHILD)}


def _folders(home: Path) -> dict[str, str]:
    kinds = {"CONFIG": ".config", "CACHE": ".cache", "DATA": ".local/share", "STATE": ".local/state"}
    folders = {f"XDG_{kind}_HOME": str(home / folder) for kind, folder in kinds.items()}
    return {**folders, "HOME": str(home), "USERPROFILE": str(home), "APPDATA": str(home / "AppData")}


def _network() -> dict[str, str]:
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = {form: DEAD_PROXY for name in names for form in (name, name.lower())}
    return {**proxies, **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")}


def _git() -> dict[str, str]:
    people = {
        f"GIT_{role}_{fact}": value
        for role in ("AUTHOR", "COMMITTER")
        for fact, value in (("NAME", "llmops tests"), ("EMAIL", "tests@llmops.invalid"))
    }
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    branch = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "init.defaultBranch", "GIT_CONFIG_VALUE_0": "main"}
    return {**people, **settings, **branch}


def _locale() -> dict[str, str]:
    return {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb"}
