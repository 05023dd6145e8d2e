"""What the SDKs raise, in our own words: what may pass, what will not, what is not there.

`azure-ai-ml`, `promptflow.azure`, `requests` and `httpx` each have errors of their own; nothing else of this package,
and nothing outside of it, knows them.
"""

from __future__ import annotations

import http
import re
import sys
from dataclasses import dataclass
from typing import Any

from llmops.errors import BackendError, LlmopsError, TransientError, UsageError

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_HALF_UPLOADED = "BlobAlreadyExists"
"""Said to an upload that meets its own file, or one of an upload that was interrupted: the next one writes over both.

Source: `azure.ai.ml._artifacts._blob_storage_helper`, 1.32.0, `check_blob_exists`.
"""
_CODE_LIMIT = 600
_STATUS = re.compile(r"(?:Status code|Code): (\d{3})\b")
_TRIED = re.compile(r"Attempted credentials: (.+?)(?: To mitigate this issue|$)")
_DENIED_FIX = (
    "Give this identity the role that has the action, or wait some minutes if it was given just now; "
    "`llmops doctor --environment NAME` names the roles."
)


class NotThereError(BackendError):
    """What was asked for does not exist."""


class BusyError(TransientError):
    """The resource is being changed by another operation; it can be changed when that has ended."""


class RefusedError(BackendError):
    """Azure understood and refused; `code` is Azure's own word for why."""

    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an error of an SDK says.

    Attributes:
        status: of HTTP; 0 when there was no answer.
        code: Azure's own, for instance `OutOfQuota`; empty when there is none.
        retry_after_s: what the service asks for; None when it does not.
    """

    status: int
    code: str = ""
    message: str = ""
    retry_after_s: float | None = None


def sdk_errors() -> tuple[type[Exception], ...]:
    """Return the base classes of what the SDKs that are loaded may raise."""
    import httpx
    import requests
    from azure.core.exceptions import AzureError

    found: list[type[Exception]] = [AzureError, requests.RequestException, httpx.HTTPError]
    if "promptflow.azure" in sys.modules:
        from promptflow.azure.operations._run_operations import RunRequestException
        from promptflow.exceptions import PromptflowException

        found += [PromptflowException, RunRequestException]
    return tuple(found)


def facts_of(error: Exception) -> Facts:
    """Read an error of an SDK.

    Prompt flow keeps the status in its text or in the error that it wraps, see contract, sections 4 and 4.2.
    """
    error = _unwrap(error)
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    if not isinstance(status, int):
        status = getattr(response, "status_code", None)
    text = str(error)
    if not isinstance(status, int):
        match = _STATUS.search(text)
        status = int(match[1]) if match else 0
    details = getattr(error, "error", None)
    code = getattr(details, "code", None) or getattr(error, "error_code", None) or ""
    message = getattr(details, "message", None) or getattr(error, "message", None) or text
    code = str(getattr(code, "value", code))  # storage gives a member of an enumeration
    return Facts(status=status, code=code, message=_shorten(str(message)), retry_after_s=_retry_after(response))


def translate(error: Exception, what: str) -> LlmopsError:
    """Turn an error of an SDK into one of ours.

    Args:
        error: one of `sdk_errors`.
        what: what was being done, a clause such as `create the endpoint 'web-dev'`.
    """
    error, facts = _unwrap(error), facts_of(error)
    if (kind := _by_class(error, what, facts)) is not None:
        return kind
    found = f"{facts.status or 'no status'} {facts.code}: {facts.message}".replace(" :", ":")
    if facts.status in _PASSING or facts.code == _HALF_UPLOADED:
        return TransientError.of(f"Azure could not {what}", found=found)
    if facts.status == http.HTTPStatus.CONFLICT and facts.code != "UserError":
        return BusyError.of(f"Azure could not {what}", found=found)
    if facts.status == http.HTTPStatus.NOT_FOUND:
        return NotThereError.of(f"Azure could not {what}", found=found)
    if facts.status == http.HTTPStatus.UNAUTHORIZED:
        return BackendError.of(f"Azure refused to {what}", found=found, fix="Log in again: the token is not accepted.")
    if facts.status == http.HTTPStatus.FORBIDDEN:
        return BackendError.of(f"Azure refused to {what}", found=found, fix=_DENIED_FIX)
    refused = RefusedError.of(f"Azure refused to {what}", found=found)
    refused.code = facts.code
    return refused


def _by_class(error: Exception, what: str, facts: Facts) -> LlmopsError | None:
    """Judge what is known by its class rather than by a status."""
    from azure.core.exceptions import (
        ClientAuthenticationError,
        DecodeError,
        IncompleteReadError,
        ServiceRequestError,
        ServiceResponseError,
    )

    if isinstance(error, ClientAuthenticationError) and not facts.status:
        tried = _TRIED.search(facts.message)
        fix = "az login, or give this machine one of the other identities that docs/azure.md names."
        return BackendError.of(f"no identity could {what}", found=tried[1] if tried else facts.message, fix=fix)
    if "not permitted for non-TLS" in facts.message:
        return UsageError.of(f"Azure cannot {what} without TLS", found=facts.message, expected="https:// addresses")
    passing = (ServiceRequestError, ServiceResponseError, DecodeError, IncompleteReadError)
    is_connection = isinstance(error, passing) or (_is_of(error, "requests", "httpx") and not facts.status)
    if is_connection:
        return TransientError.of(
            f"Azure could not be reached to {what}", found=f"{type(error).__name__}: {facts.message}"
        )
    if type(error).__name__ == "RunNotFoundError":
        return NotThereError.of(f"Azure could not {what}", found=facts.message)
    if not facts.status and _is_of(error, "azure.ai.ml", "promptflow"):
        return RefusedError.of(f"the SDK refused to {what}", found=facts.message)
    return None


def _unwrap(error: Exception) -> Exception:
    """Return the error of Azure's that prompt flow wrapped, or else the error."""
    inner = getattr(error, "inner_exception", None) or getattr(error, "_inner_exception", None)
    if isinstance(inner, Exception) and inner is not error and _is_of(inner, "azure."):
        return _unwrap(inner)
    return error


def _is_of(error: BaseException, *packages: str) -> bool:
    return type(error).__module__.startswith(packages)


def _retry_after(response: Any) -> float | None:
    headers = getattr(response, "headers", None) or {}
    for name, unit in (("Retry-After", 1.0), ("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3)):
        value = headers.get(name)
        if value is not None and re.fullmatch(r"\d+(?:\.\d+)?", value):
            return float(value) * unit
    return None


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CODE_LIMIT else f"{line[:_CODE_LIMIT]}…"
