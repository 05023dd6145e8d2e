"""The driver's side of the gateway: start it, give runs a way in, read what their calls used."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, final
from urllib.parse import quote

import llmops
from llmops.core.documents import to_json
from llmops.engine.children import end_child
from llmops.engine.gateway.ledger import Entry, LedgerReader
from llmops.engine.gateway.settings import GatewaySettings, Registration, Upstream
from llmops.errors import BackendError
from llmops.records import LineError, ModelCalls

_SHUTDOWN_S = 5.0
_ANSWER_S = 10.0


class LineUse(NamedTuple):
    """What the model calls of one line used.

    Attributes:
        tokens: `prompt`, `completion`, `total`; empty when no answer said.
        cost_usd: None when a price or a usage is not known.
        refusal: why one of them got no answer; the line is then not measured, whatever the flow made of it.
        stand_in: whether the stand-in model answered one of them.
    """

    tokens: Mapping[str, int]
    cost_usd: float | None
    refusal: LineError | None
    stand_in: bool = False


NO_USE = LineUse({}, None, None)


@dataclass
class _Tally:
    """A sum over calls."""

    prompt: int = 0
    completion: int = 0
    usd: float = 0.0
    counted: int = 0
    unpriced: int = 0
    refusal: LineError | None = None
    stand_in: bool = False

    def add(self, entry: Entry) -> None:
        if entry.origin == "refused":
            self.refusal = self.refusal or LineError(type=entry.reason, message=entry.message)
            return
        self.stand_in = self.stand_in or entry.stand_in
        if entry.usage is not None:
            self.prompt += entry.usage.prompt
            self.completion += entry.usage.completion
            self.counted += 1
        self.usd += entry.usd or 0.0
        self.unpriced += entry.usd is None

    @property
    def tokens(self) -> Mapping[str, int]:
        if not self.counted:
            return {}
        return {"prompt": self.prompt, "completion": self.completion, "total": self.prompt + self.completion}

    @property
    def cost_usd(self) -> float | None:
        return None if self.unpriced or not self.counted else round(self.usd, 8)


@dataclass
class Account:
    """What one run's calls used, in this invocation.

    Attributes:
        token: what the run's workers have instead of a key.
    """

    token: str
    gateway: GatewayProcess
    _lines: dict[str, _Tally] = field(default_factory=dict)
    _live: _Tally = field(default_factory=_Tally)
    _unknown_line: _Tally = field(default_factory=_Tally)
    _counts: ModelCalls = field(default_factory=ModelCalls)

    def add(self, entry: Entry) -> None:
        """Book one call."""
        tally = self._lines.setdefault(entry.line, _Tally()) if entry.line else self._unknown_line
        tally.add(entry)
        if entry.origin == "live":
            self._live.add(entry)
        counts = self._counts
        self._counts = replace(
            counts,
            **{entry.origin: getattr(counts, entry.origin) + 1},
            unattributed=counts.unattributed + (not entry.line),
            uncounted=counts.uncounted + (entry.usage is None and entry.origin != "refused"),
        )

    def settle(self, line: str) -> LineUse:
        """Return what a line used, once it is done.

        A call that names no line may have been any line's: from then on every line counts as refused, or as answered by
        the stand-in, when such a call was.
        """
        self.gateway.read_ledger()
        tally = self._lines.pop(line, None) or _Tally()
        unknown = self._unknown_line
        refusal, stand_in = tally.refusal or unknown.refusal, tally.stand_in or unknown.stand_in
        return LineUse(tally.tokens, tally.cost_usd, refusal, stand_in)

    def summary(self) -> ModelCalls:
        """Return the counts of the run; asks the gateway what it settled at."""
        self.gateway.read_ledger()
        stats = self.gateway.ask(f"/-/runs/{self.token}")
        settled = {model: tuple(found) for model, found in stats["settled"].items()}
        return replace(
            self._counts,
            retries=stats["retries"],
            concurrency={model: found[0] for model, found in settled.items()},
            calls_per_second={model: found[1] for model, found in settled.items() if found[1] is not None},
            spent_tokens=self._live.prompt + self._live.completion,
            spent_usd=self._live.cost_usd if self._counts.live else 0.0,
            problem=stats["problem"],
        )


@final
class GatewayProcess:
    """The gateway in a child process; use it as a context manager or call `close`.

    The driver opens the socket, so that workers can be given the address at once; who connects early waits. The child
    ends when its standard input does, so it goes even if the driver is killed. It is in a session of its own, so that
    Ctrl-C reaches the driver alone.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._admin = settings.admin
        self._accounts: dict[str, Account] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (`close` closes it)
        self._ledger_file = tempfile.TemporaryFile()  # noqa: SIM115  (as above)
        self._ledger = LedgerReader(self._ledger_file.fileno())
        with contextlib.closing(_listen()) as listener:
            self.port: int = listener.getsockname()[1]
            self._child = self._start(listener)
        self._tell(to_json(settings))

    def _start(self, listener: socket.socket) -> subprocess.Popen[bytes]:
        shared = (listener.fileno(), self._ledger_file.fileno())
        return subprocess.Popen(
            [sys.executable, "-m", "llmops.engine.gateway", *map(str, shared)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=shared,
            # `-m` looks in the working directory first: this one holds the llmops that is running, no user's modules.
            cwd=Path(llmops.__file__).parents[1],
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def open_account(self, label: str, upstreams: Sequence[Upstream]) -> Account:
        """Let a run in.

        Raises:
            BackendError: the gateway has ended.
        """
        account = Account(token=f"llmops-{secrets.token_hex(16)}", gateway=self)
        self._accounts[account.token] = account
        self._tell(to_json(Registration(token=account.token, label=label, upstreams=tuple(upstreams))))
        return account

    def address(self, account: Account, upstream: Upstream) -> str:
        """Return where the run's workers reach a service: what takes the place of the connection's own address."""
        path = "/v1" if upstream.kind == "stand_in" else ""
        return f"http://127.0.0.1:{self.port}/{account.token}/{quote(upstream.name, safe='')}{path}"

    def read_ledger(self) -> None:
        """Book the calls that ended since the last time."""
        for entry in self._ledger.read():
            self._accounts[entry.run].add(entry)

    def ask(self, page: str) -> Mapping[str, Any]:
        """Read one of the gateway's own pages.

        Raises:
            BackendError: the gateway has ended.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
        with contextlib.closing(connection):
            try:
                connection.request("GET", page, headers={"authorization": f"Bearer {self._admin}"})
                answer: Mapping[str, Any] = json.load(connection.getresponse())
            except (OSError, http.client.HTTPException) as error:
                raise self._ended() from error
        return answer

    def _tell(self, message: Mapping[str, Any]) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _ended(self) -> BackendError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_SHUTDOWN_S)
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip()
        return BackendError.of("the model gateway has ended", found=said or f"exit code {self._child.returncode}")

    def close(self) -> None:
        """End the child; closing twice is fine."""
        end_child(self._child, _SHUTDOWN_S)
        self._log.close()
        self._ledger_file.close()

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    return listener
