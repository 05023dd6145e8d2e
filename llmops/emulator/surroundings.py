"""The environment in which flows run: that of a container, not that of the person at the keyboard.

Else a flow that needs a variable which nobody declared would work here and fail on Azure.
"""

from __future__ import annotations

from collections.abc import Mapping

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
