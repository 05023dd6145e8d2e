"""From method and path to the function that answers; paths compare without case, as in Azure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmops.emulator.cloud import REGISTRY_PREFIX, Call
from llmops.emulator.errors import RefusalError
from llmops.emulator.wire import Request, Response

Handler = Callable[[Call], Response]

_PROVIDER = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
WORKSPACE = f"{_PROVIDER}/workspaces/{{workspace}}"
REGISTRY = f"{_PROVIDER}/registries/{{registry}}"
_SHORT = {"{W}": WORKSPACE, "{R}": REGISTRY, "{F}": REGISTRY_PREFIX}


@dataclass(frozen=True, kw_only=True)
class Route:
    """One kind of request."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


class Router:
    """The routes of one service."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Add a route.

        Args:
            method: of HTTP.
            path: `{name}` stands for one part of it, `{W}` and `{R}` for the path of the workspace and of the registry,
                `{F}` for what comes before that where registries are served.
            handler: answers.
        """
        for short, long in _SHORT.items():
            path = path.replace(short, long)
        text = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)
        self._routes.append(Route(method=method, pattern=re.compile(f"{text}/?", re.IGNORECASE), handler=handler))

    def find(self, request: Request) -> tuple[Handler, Mapping[str, str]]:
        """Find who answers, and the parts of the path.

        Raises:
            RefusalError: 404 or 405.
        """
        path = re.sub("/{2,}", "/", request.path)
        matches = [(route, match) for route in self._routes if (match := route.pattern.fullmatch(path))]
        for route, match in matches:
            if route.method == request.method:
                return route.handler, match.groupdict()
        if matches:
            raise RefusalError(405, "MethodNotAllowed", f"{request.method} is not emulated for {request.path}.")
        raise RefusalError(404, "NotEmulated", f"The emulator does not know {request.method} {request.path}.")
