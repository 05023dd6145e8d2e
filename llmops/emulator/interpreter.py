"""The interpreter in which flows run: with the environment of a container, not with that of the person at the keyboard.

Else a flow that needs a variable which nobody declared would work here and fail on Azure.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *(form for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for form in (name, name.lower())),
)
"""What a process needs to start, and to reach its model from this machine."""


_LOGGING = {"PF_LOGGING_LEVEL": "INFO"}
"""At which prompt flow writes down what a flow prints, as on Azure."""


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a container starts with: what little of `env` is passed on."""
    return {**{name: env[name] for name in _PASSED_ON if name in env}, **_LOGGING}


def write_interpreter(python: str, folder: Path, env: Mapping[str, str]) -> Path:
    """Write a program that is that Python with a clean environment.

    Args:
        python: the interpreter.
        folder: takes the program.
        env: what little is passed on is taken from here.
    """
    path = folder / "python"
    kept = [shlex.quote(f"{name}={value}") for name, value in clean_environment(env).items()]
    command = " ".join(["exec", "env", "-i", *kept, shlex.quote(python)])
    path.write_text(f'#!/bin/sh\n{command} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return path
