"""Why a deployment did not come to serve, in one sentence with what to do, from what Azure says and its logs show."""

from __future__ import annotations

import re
from typing import NamedTuple

_QUOTED = 300
_LAST_LINE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", re.MULTILINE)


class _Cause(NamedTuple):
    """One known cause: `pattern` is searched in Azure's code and message and in the logs, ignoring case."""

    pattern: str
    cause: str
    fix: str


_CAUSES = (
    _Cause(
        r"OutOfQuota|not enough quota|quota (?:is )?exceeded",
        "the subscription's quota for this instance type is used up",
        "Ask for more quota (Azure keeps 20 % for upgrades), choose another `serving.instance_type`, or delete "
        "deployments that are not used.",
    ),
    _Cause(
        r"OutOfCapacity|SkuNotAvailable",
        "the region has no machines of this type left",
        "Choose another `serving.instance_type` or try again later.",
    ),
    _Cause(
        r"ImageBuildFailure|ImageBuildFailed|image build",
        "the image could not be built",
        "Read the build log in the workspace's container registry; most often a package of the requirements cannot be "
        "installed.",
    ),
    _Cause(
        r"AcrPull|ImagePull|ErrImage|pull(?:ing)? image|manifest unknown|unable to download.*image",
        "the image could not be pulled",
        "See that the image exists and give the endpoint's identity the role AcrPull on its container registry.",
    ),
    _Cause(
        r"(?:Storage ?Blob|blob).{0,80}(?:403|not authorized)|AuthorizationPermissionMismatch|AuthorizationFailure\b"
        r"|not authorized to perform this operation",
        "the endpoint's identity may not read the model's files",
        "Give it the role Storage Blob Data Reader on the workspace's storage account.",
    ),
    _Cause(
        r"listsecrets|connections?/.{0,80}(?:403|denied|AuthorizationFailed)|UserAuthenticationError",
        "the endpoint's identity may not read the workspace's connections",
        "Give it the role AzureML Data Scientist on the workspace (or the role Azure Machine Learning Workspace "
        "Connection Secrets Reader) and deploy again.",
    ),
    _Cause(
        r"connection '?[\w-]+'? (?:is )?(?:required.*)?not found|ConnectionNotFound|OpenURLNotFound|GetConnectionError",
        "a connection that the flow uses is missing in the workspace",
        "Add it to the workspace under the very name that the flow uses.",
    ),
    _Cause(
        r"AuthorizationFailed|does not have authorization",
        "a role is missing",
        "Give the identity the role that has the action; see `llmops doctor`.",
    ),
    _Cause(
        r"ModuleNotFoundError|No module named",
        "the flow imports a package that the image does not have",
        "Add it to the flow's requirements.txt and register the flow again.",
    ),
    _Cause(
        r"OutOfMemory|OOMKilled|MemoryError",
        "the container ran out of memory",
        "Choose a larger `serving.instance_type`.",
    ),
    _Cause(
        r"(?:readiness|liveness) probe failed|did not become ready in time|ContainerTimeout",
        "the container did not answer its health check in time",
        "Set `serving.start_timeout_s` higher, or see in the logs what the flow does while it loads.",
    ),
    _Cause(
        r"User container has crashed|crashed or terminated|ResourceNotReady|FlowRefused|flow.*(?:cannot|does not) load",
        "the flow does not load in the container",
        "Read the logs; `llmops test` loads the same flow on this machine.",
    ),
)


def diagnose(code: str, message: str, container_log: str = "", storage_log: str = "") -> str:
    """Name the likely cause of a failed deployment and its remedy.

    Args:
        code: Azure's own, for instance `ResourceNotReady`; empty when it is not known.
        message: Azure's own.
        container_log: end of what the container printed.
        storage_log: end of what the download of the model printed.

    Returns:
        Sentences: the cause, what shows it, what to do; what Azure says when the cause is not known.
    """
    said = f"{code}: {message}".strip(": ")
    # The log knows better than the operation why a container did not come up; a quota is only in the message.
    places = (said, container_log, storage_log) if re.search("quota|capacity|image", said, re.IGNORECASE) else ()
    for text in (*places, container_log, storage_log):
        if known := _find(text):
            return known
    if line := _last_error(container_log):
        return f"the flow failed while it was loaded: {line}. `llmops test` loads the same flow on this machine"
    return _find(said) or (f"Azure says: {said[:_QUOTED]}" if said else "Azure gives no reason, and there are no logs")


def _find(text: str) -> str:
    for known in _CAUSES:
        if text and re.search(known.pattern, text, re.IGNORECASE | re.DOTALL):
            return f"{known.cause} ({_evidence(text, known.pattern)}). {known.fix}"
    return ""


def _evidence(text: str, pattern: str) -> str:
    """Quote what shows a cause: the last error of a log, else the line that matched."""
    if line := _last_error(text):
        return line
    match = re.search(pattern, text, re.IGNORECASE | re.DOTALL)
    start = text.rfind("\n", 0, match.start()) + 1 if match else 0
    return text[start:].splitlines()[0].strip()[:_QUOTED]


def _last_error(text: str) -> str:
    found = _LAST_LINE.findall(text)
    return found[-1].strip()[:_QUOTED] if found else ""
