"""The control page: plain JSON on the emulator's port, for whoever rehearses or tests with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from llmops.emulator.cloud import Cloud
from llmops.emulator.errors import RefusalError, not_found
from llmops.emulator.faults import read_faults
from llmops.emulator.settings import Settings
from llmops.emulator.wire import Request, Response, json_response, refusal_response
from llmops.errors import UsageError

_CHANGEABLE = {field.name for field in dataclasses.fields(Settings)} - {
    "region",
    "workspaces",
    "registries",
    "connections",
}


class ControlPage:
    """Answers requests that do not come through TLS.

    | request | answer |
    | --- | --- |
    | `GET /requests?after=N` | what was asked, from number N + 1 |
    | `GET /refused` | hosts that were asked for and are not on the list |
    | `GET`, `POST`, `DELETE /faults` | rules that are not over; add one or several; remove all |
    | `GET`, `PATCH /settings` | how the service behaves; change some of it |
    | `GET /identity/…` | a token for a job that has an identity |
    | `GET /metadata/…` | 400: this machine has no identity |
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._answers: Mapping[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "requests"): self._requests,
            ("GET", "refused"): lambda _: [dataclasses.asdict(host) for host in cloud.journal.refused()],
            ("GET", "faults"): lambda _: [dataclasses.asdict(fault) for fault in cloud.faults.pending()],
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): lambda _: cloud.faults.remove(),
            ("GET", "settings"): lambda _: self._settings(),
            ("PATCH", "settings"): self._change_settings,
            ("GET", "identity"): cloud.job_environment.answer,
            ("GET", "metadata"): lambda _: _refuse_identity(),
        }

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        parts = request.path.strip("/").split("/")
        try:
            found = self._answers.get((request.method, parts[0]))
            if found is None:
                raise not_found(request.path)
            return json_response(found(request))
        except RefusalError as refusal:
            return refusal_response(refusal)
        except UsageError as error:
            return json_response({"error": {"code": "UsageError", "message": str(error)}}, 400)

    def _requests(self, request: Request) -> Any:
        entries = self._cloud.journal.entries(after=int(request.query.get("after", "0")))
        return [dataclasses.asdict(entry) for entry in entries]

    def _add_faults(self, request: Request) -> Any:
        return [self._cloud.faults.add(fault) for fault in read_faults(request.json(), "faults")]

    def _settings(self) -> Any:
        settings = dataclasses.asdict(self._cloud.settings)
        return {name: value for name, value in settings.items() if name != "connections"}

    def _change_settings(self, request: Request) -> Any:
        changes = request.json()
        unknown = sorted(set(changes) - _CHANGEABLE)
        if unknown:
            raise UsageError.of(
                "settings that cannot be changed", found=", ".join(unknown), expected=", ".join(sorted(_CHANGEABLE))
            )
        self._cloud.change_settings(**changes)
        return self._settings()


def _refuse_identity() -> NoReturn:
    raise RefusalError(400, "invalid_request", "Identity not found")
