"""Answer model calls: from a recording, from the cache, or from the service with patience and within the budget."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmops.core.prices import cost_usd, find_price
from llmops.engine.gateway.calls import (
    LINE_HEADER,
    ModelCall,
    cache_key,
    describe_prompt,
    event_documents,
    is_usage_only,
    read_usage,
    recording_key,
    split_events,
)
from llmops.engine.gateway.faults import FaultyTransport, read_faults
from llmops.engine.gateway.ledger import Entry, LedgerWriter, Origin
from llmops.engine.gateway.recording import Recording, read_recording
from llmops.engine.gateway.retries import (
    RetryBudget,
    can_succeed_later,
    has_too_much_to_do,
    read_retry_after,
    wait_before,
)
from llmops.engine.gateway.settings import GatewaySettings, Registration, Upstream
from llmops.engine.gateway.store import CallStore, StoredAnswer
from llmops.engine.gateway.throttle import Throttle
from llmops.engine.gateway.transport import (
    Answer,
    RawHeaders,
    Request,
    StandInTransport,
    Transport,
    TransportError,
    open_transport,
)
from llmops.errors import LlmopsError

EVENTS = "text/event-stream"
_HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
_NOT_SENT = {*_HOP_BY_HOP, b"host", b"content-length", b"accept-encoding", LINE_HEADER.encode()}
_NOT_RETURNED = {*_HOP_BY_HOP, b"content-length"}
_NO_ACCESS = {401, 403, 404}
_LINES_REMEMBERED = 4096
_BYTES_PER_TOKEN = 4
_CUT = 300


class Refused(Exception):
    """The gateway gives no answer, or the service's last word was no; the line cannot be measured.

    Args:
        reason: a class name for the line's error.
        message: one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes to the worker.

    Attributes:
        body: whole, or the events of a stream as they come; an iterator that raises `Refused` breaks the connection.
    """

    status: int
    headers: RawHeaders
    body: bytes | AsyncIterator[bytes]


class Run:
    """What the gateway knows of one run."""

    def __init__(self, registration: Registration, settings: GatewaySettings) -> None:
        self.token = registration.token
        self.label = registration.label
        self.upstreams = {upstream.name: upstream for upstream in registration.upstreams}
        self.retries = RetryBudget(settings.retries)
        self.throttles: dict[str, Throttle] = {}
        self._asked: OrderedDict[str, Counter[str]] = OrderedDict()

    def take_occurrence(self, call: ModelCall) -> int:
        """Count how often the line asks the very same; calls of no known line are counted over the run."""
        asked = self._asked.setdefault(call.line, Counter())
        self._asked.move_to_end(call.line)
        if len(self._asked) > _LINES_REMEMBERED:
            self._asked.popitem(last=False)
        asked[call.content] += 1
        return asked[call.content] - 1

    def give_back_occurrence(self, call: ModelCall) -> None:
        """Take back the count of a call that got no answer: the next one takes its place."""
        self._asked.get(call.line, Counter[str]())[call.content] -= 1

    def stats(self) -> dict[str, Any]:
        """Say what the calls were limited to, by model."""
        settled = {
            model: [throttle.concurrency, throttle.calls_per_second]
            for model, throttle in self.throttles.items()
            if throttle.concurrency is not None
        }
        return {"retries": self.retries.taken, "settled": settled}


class ModelService:
    """All that stands between a worker and the models, but for HTTP.

    Args:
        stand_in: answers for upstreams of that kind.

    Raises:
        UsageError: the cache, the recording or the faults cannot be used.
    """

    def __init__(self, settings: GatewaySettings, ledger: LedgerWriter, stand_in: StandInTransport) -> None:
        self._settings = settings
        self._secrets: set[bytes] = set()
        self._ledger = ledger
        self._stand_in = stand_in
        self._faults = read_faults(settings.faults)
        keeps = settings.store and not settings.replay and not self._faults
        self._store = CallStore(Path(settings.store)) if keeps else None
        self._recording = Recording(Path(settings.record), self._mask) if settings.record else None
        self._replayed = read_recording(Path(settings.replay)) if settings.replay else None
        self._runs: dict[str, Run] = {}
        self._throttles: dict[tuple[str, str], Throttle] = {}
        self._transports: dict[str, Transport] = {}
        self._flying: dict[str, asyncio.Future[None]] = {}
        self._draw = random.Random()
        self._spent_tokens = 0
        self._spent_usd = 0.0
        self.problem = ""

    def register(self, registration: Registration) -> None:
        """Make a run known."""
        self._secrets |= {upstream.key.encode() for upstream in registration.upstreams if len(upstream.key) > 7}
        self._runs[registration.token] = Run(registration, self._settings)

    def find_run(self, token: str) -> Run | None:
        """Return the run that a token stands for."""
        return self._runs.get(token)

    async def answer(self, run: Run, upstream: Upstream, call: ModelCall, raw_headers: RawHeaders) -> Reply:
        """Answer one call; it is in the ledger before the reply's last byte.

        Raises:
            Refused: there is no answer; that is in the ledger, too.
        """
        try:
            if not call.is_kept:
                self._refuse_in_replay(call)
                return await self._ask_live(run, upstream, call, raw_headers, None)
            occurrence = run.take_occurrence(call)
            reply = None
            try:
                reply = await self._answer_kept(run, upstream, call, raw_headers, occurrence)
                return reply
            finally:
                if reply is None or reply.status >= 300:
                    run.give_back_occurrence(call)
        except Refused as refusal:
            message = self._mask(refusal.message.encode("utf-8", "replace")).decode()
            self._ledger.write(Entry(run.token, call.line, "refused", reason=refusal.reason, message=message))
            raise Refused(refusal.reason, message) from refusal

    async def _answer_kept(
        self, run: Run, upstream: Upstream, call: ModelCall, raw_headers: RawHeaders, occurrence: int
    ) -> Reply:
        name = recording_key(call, occurrence)
        if self._replayed is not None:
            if name not in self._replayed:
                raise self._miss(call)
            return self._reply_stored(run, call, self._replayed[name], "replayed")
        key = cache_key(call, occurrence, upstream.identity)
        while key in self._flying:
            await asyncio.shield(self._flying[key])
        stored = self._find(key)
        if stored is not None:
            self._record(name, call, stored)
            return self._reply_stored(run, call, stored, "cached")
        self._flying[key] = asyncio.get_running_loop().create_future()
        reply = None
        try:
            reply = await self._ask_live(run, upstream, call, raw_headers, _Names(key, name))
            return reply
        finally:
            if reply is None or isinstance(reply.body, bytes):
                self._land(key)

    def _land(self, key: str) -> None:
        """Let the calls go on that wait for this very answer."""
        self._flying.pop(key).set_result(None)

    def _miss(self, call: ModelCall) -> Refused:
        return Refused("ReplayMiss", f"the recording has no answer for {describe_prompt(call)}")

    def _refuse_in_replay(self, call: ModelCall) -> None:
        if self._replayed is not None:
            raise self._miss(call)

    def _find(self, key: str) -> StoredAnswer | None:
        try:
            return self._store.find(key) if self._store else None
        except LlmopsError as error:
            raise Refused("CallCacheUnusable", str(error)) from error

    def _reply_stored(self, run: Run, call: ModelCall, stored: StoredAnswer, origin: Origin) -> Reply:
        self._settle(run, call, stored, origin)
        headers = [(b"content-type", stored.content_type.encode()), (b"x-llmops-origin", origin.encode())]
        if stored.stand_in:
            headers.append((b"x-llmops-stand-in", b"true"))
        body = _each(split_events(stored.body)) if stored.content_type.startswith(EVENTS) else stored.body
        return Reply(status=stored.status, headers=headers, body=body)

    def _settle(self, run: Run, call: ModelCall, answer: StoredAnswer, origin: Origin) -> None:
        """Write an answer into the ledger; a live one is also paid for."""
        price = find_price(self._settings.prices, call.model, answer.model)
        usd = cost_usd(price, *answer.usage) if price and answer.usage else None
        if origin == "live":
            guessed = (len(call.body) + len(answer.body)) // _BYTES_PER_TOKEN
            self._spent_tokens += answer.usage.total if answer.usage else guessed
            self._spent_usd += usd if usd is not None else cost_usd(price, 0, guessed) if price else 0.0
        self._ledger.write(Entry(run.token, call.line, origin, answer.usage, usd, stand_in=answer.stand_in))

    def _check_budget(self, call: ModelCall) -> None:
        budget = self._settings.budget
        if budget.tokens is not None and self._spent_tokens >= budget.tokens:
            raise Refused("BudgetSpent", f"the budget of {budget.tokens} tokens is spent ({self._spent_tokens} used)")
        if budget.usd is None:
            return
        if find_price(self._settings.prices, call.model) is None:
            message = f"the budget is in US dollars, and no price is configured for '{call.model}' (prices)"
            raise Refused("PriceUnknown", message)
        if self._spent_usd >= budget.usd:
            raise Refused("BudgetSpent", f"the budget of {budget.usd:g} US dollars is spent ({self._spent_usd:.4f})")

    async def _ask_live(
        self, run: Run, upstream: Upstream, call: ModelCall, raw_headers: RawHeaders, names: _Names | None
    ) -> Reply:
        request, was_changed = self._request(run, upstream, call, raw_headers)
        throttle = self._throttle(run, upstream, call)
        transport = self._transport(upstream)
        attempt = 0
        while True:
            attempt += 1
            started = await throttle.enter()
            leaving = True
            try:
                self._check_budget(call)
                answer = await transport.send(request)
                if _is_stream(answer) and answer.status < 300:
                    leaving = False
                    events = self._stream(run, call, answer, names, throttle, hides_usage=was_changed)
                    run.retries.answered()
                    return Reply(status=answer.status, headers=_returned(answer.headers), body=events)
                body = await answer.read()
                failure = None
            except TransportError as error:
                failure = _Failure(str(error))
            else:
                if not can_succeed_later(answer.status, body):
                    throttle.answered()
                    run.retries.answered()
                    return self._reply_whole(run, call, answer, body, names)
                failure = _Failure.of(answer, body)
                if has_too_much_to_do(answer.status):
                    throttle.refused(started, failure.retry_after_s or 0.0, is_rate=answer.status == 429)
            finally:
                if leaving:
                    throttle.leave()
            await asyncio.sleep(self._patience(run, attempt, failure))

    def _patience(self, run: Run, attempt: int, failure: _Failure) -> float:
        """Return how long to wait before the next try, or refuse to."""
        limits = self._settings.retries
        wait = wait_before(attempt, failure.retry_after_s, self._draw)
        if (failure.retry_after_s or 0) > limits.longest_wait_s:
            raise Refused("ModelUnavailable", f"the model asks to wait {failure.retry_after_s:g} s: {failure.what}")
        if attempt > limits.per_call:
            raise Refused("ModelUnavailable", f"no answer after {attempt} tries: {failure.what}")
        if not run.retries.take():
            raise Refused("RetriesSpent", f"the run's retries are used up ({run.retries.taken}): {failure.what}")
        return wait

    def _reply_whole(self, run: Run, call: ModelCall, answer: Answer, body: bytes, names: _Names | None) -> Reply:
        headers = dict(_text_headers(answer.headers))
        document = _parse(body)
        stored = StoredAnswer(
            status=answer.status,
            content_type=headers.get("content-type", "application/json"),
            body=body,
            usage=read_usage(document),
            model=str((document or {}).get("model", "")),
            stand_in="x-llmops-stand-in" in headers,
        )
        if answer.status in _NO_ACCESS:
            message = _Failure.of(answer, body).what
            self._ledger.write(Entry(run.token, call.line, "refused", reason="ModelAccess", message=message))
        elif answer.status < 300:
            if names and document is not None:
                self._keep(names, call, stored)
            if call.is_kept or stored.usage:
                self._settle(run, call, stored, "live")
        return Reply(status=answer.status, headers=_returned(answer.headers), body=body)

    async def _stream(
        self,
        run: Run,
        call: ModelCall,
        answer: Answer,
        names: _Names | None,
        throttle: Throttle,
        *,
        hides_usage: bool,
    ) -> AsyncIterator[bytes]:
        """Pass events on as they come; keep and count them before the last one goes out."""
        seen: list[bytes] = []
        shown: list[bytes] = []
        held = b""
        try:
            async for event in _events(answer.body):
                seen.append(event)
                if hides_usage and is_usage_only(event):
                    continue
                shown.append(event)
                if held:
                    yield held
                held = event
            throttle.answered()
            headers = dict(_text_headers(answer.headers))
            documents = list(event_documents(seen[-3:]))
            stored = StoredAnswer(
                status=answer.status,
                content_type=headers.get("content-type", EVENTS),
                body=b"".join(shown),
                usage=next((used for document in reversed(documents) if (used := read_usage(document))), None),
                model=next((str(d["model"]) for d in event_documents(seen[:1]) if "model" in d), ""),
                stand_in="x-llmops-stand-in" in headers,
            )
            if names:
                self._keep(names, call, stored)
            self._settle(run, call, stored, "live")
            if held:
                yield held
        except TransportError as error:
            message = f"the stream broke: {error}"
            self._ledger.write(Entry(run.token, call.line, "refused", reason="StreamBroke", message=message))
            raise Refused("StreamBroke", message) from error
        finally:
            throttle.leave()
            if names:
                self._land(names.key)

    def _keep(self, names: _Names, call: ModelCall, answer: StoredAnswer) -> None:
        answer = replace(answer, body=self._mask(answer.body))
        try:
            if self._store:
                self._store.keep(names.key, answer)
            self._record(names.name, call, answer)
        except (LlmopsError, OSError) as error:
            self.problem = self.problem or str(error)

    def _record(self, name: str, call: ModelCall, answer: StoredAnswer) -> None:
        if self._recording is not None:
            self._recording.add(name, call, answer)

    def _mask(self, text: bytes) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, b"***")
        return text

    def _request(self, run: Run, upstream: Upstream, call: ModelCall, raw_headers: RawHeaders) -> tuple[Request, bool]:
        """Build what the service gets: the real key for the run's token, and a question for the usage of a stream."""
        token, key = run.token.encode(), upstream.key.encode()
        headers = [(name, value.replace(token, key)) for name, value in raw_headers if name not in _NOT_SENT]
        headers.append((b"accept-encoding", b"identity"))
        body = call.body
        document = call.document or {}
        asks = upstream.asks_usage and call.streams and "stream_options" not in document and "messages" in document
        if asks:
            body = json.dumps({**document, "stream_options": {"include_usage": True}}).encode()
        return Request(method=call.method, path=call.path, headers=headers, body=body), asks

    def _throttle(self, run: Run, upstream: Upstream, call: ModelCall) -> Throttle:
        throttle = self._throttles.setdefault((upstream.identity, call.model), Throttle())
        run.throttles[call.model] = throttle
        return throttle

    def _transport(self, upstream: Upstream) -> Transport:
        if upstream.address not in self._transports:
            opened = open_transport(upstream.address) if upstream.address else self._stand_in
            self._transports[upstream.address] = FaultyTransport(opened, self._faults) if self._faults else opened
        return self._transports[upstream.address]

    async def close(self) -> None:
        """Close files and connections."""
        for transport in self._transports.values():
            await transport.close()
        if self._store is not None:
            self._store.close()
        if self._recording is not None:
            self._recording.close()


@dataclass(frozen=True)
class _Names:
    """What an answer is called in the cache and in a recording."""

    key: str
    name: str


@dataclass(frozen=True)
class _Failure:
    """A try that was in vain."""

    what: str
    retry_after_s: float | None = None

    @classmethod
    def of(cls, answer: Answer, body: bytes) -> _Failure:
        said = " ".join(body[:_CUT].decode("utf-8", "replace").split())
        return cls(f"HTTP {answer.status} {said}".rstrip(), read_retry_after(dict(_text_headers(answer.headers))))


def _is_stream(answer: Answer) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(EVENTS.encode()) for name, value in answer.headers)


def _text_headers(headers: RawHeaders) -> Iterable[tuple[str, str]]:
    return ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)


def _returned(headers: RawHeaders) -> RawHeaders:
    return [(name, value) for name, value in headers if name.lower() not in _NOT_RETURNED]


def _parse(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


async def _events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a body into server-sent events; what is left at its end is one, too."""
    rest = b""
    async for part in body:
        *whole, rest = split_events(rest + part) or [b""]
        if rest.endswith((b"\n\n", b"\r\n\r\n")):
            whole, rest = [*whole, rest], b""
        for event in whole:
            yield event
    if rest:
        yield rest


async def _each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
