"""Faults by rule: which requests go wrong, how, and how often."""

from __future__ import annotations

import fnmatch
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from llmops.emulator.errors import RefusalError
from llmops.emulator.wire import Request
from llmops.errors import Problem, UsageError, near_match

Effect = Literal["answer", "delay", "reset", "hang", "lose_answer", "deny", "fail_operation", "stick_operation"]
OPERATION_EFFECTS = frozenset({"fail_operation", "stick_operation"})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule.

    Attributes:
        effect: `answer` with `status`, `code`, `message` and `headers` instead of the service; `delay` by `delay_s`
            and go on; `reset` the connection before anything happens; `hang` for `delay_s`, then reset; `lose_answer`:
            do what was asked, then reset; `deny`: 403 as for a missing role; `fail_operation` or `stick_operation`:
            accept the request, and the operation it starts fails with `code` and `message`, or never ends.
        method: glob, for instance `PUT` or `*`.
        path: regular expression that is searched in `host/path`, ignoring case.
        permission: glob over the action of Azure Resource Manager that the request needs, for instance
            `*/onlineEndpoints/write`; empty matches all.
        after: matching requests that pass first.
        count: matching requests that it then concerns; None: all.
        for_s: seconds from its start after which the rule is over, as a role assignment that takes effect late; None:
            never.
    """

    effect: Effect = "answer"
    method: str = "*"
    path: str = ""
    permission: str = ""
    after: int = 0
    count: int | None = 1
    for_s: float | None = None
    status: int = 503
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    def matches(self, request: Request) -> bool:
        """Tell whether the rule is about this request."""
        if not fnmatch.fnmatchcase(request.method, self.method.upper()):
            return False
        action = permission_of(request.method, request.path).lower()
        if self.permission and not fnmatch.fnmatchcase(action, self.permission.lower()):
            return False
        return re.search(self.path, f"{request.host}{request.path}", re.IGNORECASE) is not None

    def refusal(self, request: Request) -> RefusalError:
        """Build the error that the rule answers with."""
        if self.effect == "deny":
            return _denied(request)
        code = self.code or _CODES.get(self.status, "ServiceError")
        return RefusalError(self.status, code, self.message or f"Injected fault: {self.status}", self.headers)


_CODES = {
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
    401: "ExpiredAuthenticationToken",
}


def permission_of(method: str, path: str) -> str:
    """Name the action of Azure Resource Manager that a request needs; empty for other services.

    Source: https://learn.microsoft.com/azure/role-based-access-control/permissions/ai-machine-learning
    """
    _, provider, rest = path.rpartition("/providers/")
    if not provider:
        return ""
    namespace, *parts = rest.strip("/").split("/")
    kinds = "/".join([namespace, *parts[::2]])
    if parts[:1] == ["registries"] and len(parts) > 2:
        verb = {"GET": "read", "HEAD": "read", "POST": "read", "DELETE": "delete"}.get(method, "write")
        return f"{namespace}/registries/assets/{verb}"
    if method == "POST":
        is_action = len(parts) % 2 == 1
        return f"{kinds}/action" if is_action else f"{kinds}/write"
    verb = {"GET": "read", "HEAD": "read", "DELETE": "delete"}.get(method, "write")
    return f"{kinds}/{verb}"


def _denied(request: Request) -> RefusalError:
    scope, action = request.path.rstrip("/"), permission_of(request.method, request.path)
    message = (
        f"The client does not have authorization to perform action '{action}' over scope '{scope}' or "
        "the scope is invalid. If access was recently granted, please refresh your credentials."
    )
    return RefusalError(403, "AuthorizationFailed", message)


@dataclass(eq=False)
class _Rule:
    fault: Fault
    number: int
    started: float = field(default_factory=time.monotonic)
    seen: int = 0

    @property
    def is_over(self) -> bool:
        fault = self.fault
        if fault.for_s is not None and time.monotonic() - self.started >= fault.for_s:
            return True
        return fault.count is not None and self.seen >= fault.after + fault.count


class FaultRules:
    """The rules in force; the first that concerns a request wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._added = 0

    def add(self, fault: Fault) -> int:
        """Add a rule and return its number."""
        with self._lock:
            self._added += 1
            self._rules.append(_Rule(fault, self._added))
            return self._added

    def remove(self, number: int | None = None) -> None:
        """Remove one rule, or all."""
        with self._lock:
            self._rules = [rule for rule in self._rules if number is not None and rule.number != number]

    def pending(self) -> Sequence[Fault]:
        """Return the rules that are not over."""
        with self._lock:
            return [rule.fault for rule in self._rules if not rule.is_over]

    def for_request(self, request: Request) -> Fault | None:
        """Find the fault of this very request and count it."""
        return self._take(request, of_operation=False)

    def for_operation(self, request: Request) -> Fault | None:
        """Find the fault of the operation that this request starts and count it."""
        return self._take(request, of_operation=True)

    def _take(self, request: Request, *, of_operation: bool) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                if (rule.fault.effect in OPERATION_EFFECTS) is not of_operation:
                    continue
                if rule.is_over or not rule.fault.matches(request):
                    continue
                rule.seen += 1
                if rule.seen > rule.fault.after:
                    return rule.fault
        return None


def read_faults(value: Any, where: str) -> list[Fault]:
    """Read rules from a document: a list of mappings, or one mapping.

    Raises:
        UsageError: one problem for each thing that is not as it must be.
    """
    items = value if isinstance(value, list) else [value]
    problems = [problem for index, item in enumerate(items) for problem in _problems(item, f"{where}[{index}]")]
    if problems:
        raise UsageError(*problems)
    return [Fault(**item) for item in items]


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("effect", "method", "path", "permission", "code", "message"), (str,)),
    **dict.fromkeys(("after", "status"), (int,)),
    "count": (int, type(None)),
    "for_s": (int, float, type(None)),
    "delay_s": (int, float),
    "headers": (dict,),
}


def _problems(item: Any, where: str) -> list[Problem]:
    if not isinstance(item, dict):
        return [Problem(what="a fault is a mapping", where=where, found=repr(item))]
    known = [entry.name for entry in fields(Fault)]
    found = [
        Problem(what=f"unknown key '{name}'", where=where, fix=near_match(str(name), known))
        for name in item
        if name not in known
    ]
    for name, value in item.items():
        if name in _TYPES and (not isinstance(value, _TYPES[name]) or isinstance(value, bool)):
            found.append(Problem(what="wrong type", where=f"{where}.{name}", found=repr(value)))
    if item.get("effect", "answer") not in get_args(Effect):
        expected = ", ".join(get_args(Effect))
        found.append(
            Problem(what="no such effect", where=f"{where}.effect", found=repr(item["effect"]), expected=expected)
        )
    return [*found, *_path_problem(item.get("path", ""), where)]


def _path_problem(path: Any, where: str) -> list[Problem]:
    try:
        re.compile(str(path))
    except re.error as error:
        return [Problem(what="not a regular expression", where=f"{where}.path", found=f"{path!r}: {error}")]
    return []
