"""What is to serve, durable: endpoints, deployments and leases in one SQLite file, `.llmops/endpoints/state.sqlite`.

Drivers write it and tell the router; the router reads it. Nothing in it is a connection's secret; the endpoints' own
keys are, so the file is the user's alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from llmops.core.endpoint import Lease
from llmops.engine.sqlite_file import keep_log
from llmops.errors import LeaseHeldError, LeaseLostError, TransientError, UsageError

KeyName = Literal["primary", "secondary"]

_BUSY_S = 20.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS endpoints (
    name TEXT PRIMARY KEY, environment TEXT, port INTEGER, traffic TEXT, mirror TEXT, tags TEXT, keys TEXT
);
CREATE TABLE IF NOT EXISTS deployments (
    endpoint TEXT, name TEXT, model TEXT, version TEXT, digest TEXT, spec TEXT, tags TEXT, deleting INTEGER,
    PRIMARY KEY (endpoint, name)
);
CREATE TABLE IF NOT EXISTS leases (
    endpoint TEXT PRIMARY KEY, token TEXT, owner TEXT, link TEXT, expires_at REAL
);
"""


@dataclass(frozen=True, kw_only=True)
class StoredDeployment:
    """One deployment as it is to be.

    Attributes:
        folder: name of its folder below the endpoint's `deployments/`.
        connections: names of the connections that it needs.
        environment_variables: values as they were written, references and all.
        settings: of the serving process, see `settings.py`.
        capture_percent: share of live requests that is kept with its answers.
        is_deleting: it takes no new requests and goes when the last one is answered.
    """

    name: str
    model: str
    version: str
    digest: str
    folder: str
    connections: Sequence[str] = ()
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    capture_percent: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    is_deleting: bool = False


@dataclass(frozen=True, kw_only=True)
class StoredEndpoint:
    """One endpoint as it is to be.

    Attributes:
        environment: name of the environment that made it, whose connections its deployments use.
        port: where the router listens on 127.0.0.1; 0 until it did for the first time.
        keys: `primary` and `secondary`.
    """

    name: str
    environment: str
    port: int
    keys: Mapping[KeyName, str]
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    deployments: Mapping[str, StoredDeployment] = field(default_factory=dict)


class EndpointStore:
    """The file; may be used from several threads and processes at once.

    Every method raises TransientError when another process keeps the file busy for too long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = threading.local()

    def find(self, endpoint: str) -> StoredEndpoint | None:
        """Return an endpoint with its deployments, None when there is none."""
        if not self._path.exists():
            return None
        with self._transaction("DEFERRED") as db:
            return _read_endpoint(db, endpoint)

    def names(self) -> Sequence[str]:
        """Return the names of all endpoints, sorted."""
        if not self._path.exists():
            return []
        with self._transaction("DEFERRED") as db:
            return [name for (name,) in db.execute("SELECT name FROM endpoints ORDER BY name")]

    def ensure(self, endpoint: str, *, environment: str, tags: Mapping[str, str]) -> None:
        """Create an endpoint with new keys; one that exists is left as it is."""
        keys = json.dumps({"primary": _new_key(), "secondary": _new_key()})
        with self._transaction() as db:
            db.execute(
                "INSERT INTO endpoints VALUES (?, ?, 0, '{}', '{}', ?, ?) ON CONFLICT DO NOTHING",
                (endpoint, environment, json.dumps(dict(tags)), keys),
            )

    def update(
        self,
        endpoint: str,
        *,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change traffic, mirror and tags in one transaction; see `Endpoints.update_endpoint`.

        Raises:
            UsageError: traffic or mirror name what does not exist or is being removed.
        """
        with self._transaction() as db:
            found = _require(db, endpoint)
            present = {name for name, one in found.deployments.items() if not one.is_deleting}
            for name in [*(traffic or {}), *(mirror or {})]:
                if name not in present:
                    raise _no_deployment(endpoint, name, present)
            db.execute(
                "UPDATE endpoints SET traffic = ?, mirror = ?, tags = ? WHERE name = ?",
                (
                    json.dumps(_without_zeros(found.traffic if traffic is None else traffic)),
                    json.dumps(_without_zeros(found.mirror if mirror is None else mirror)),
                    json.dumps(_merge(found.tags, tags or {})),
                    endpoint,
                ),
            )

    def port_of(self, endpoint: str) -> int:
        """Return where the router listened last; 0 when it never did."""
        found = self.find(endpoint)
        return found.port if found else 0

    def set_port(self, endpoint: str, port: int) -> None:
        """Keep where the router listens, so that the next one listens there too."""
        with self._transaction() as db:
            db.execute("UPDATE endpoints SET port = ? WHERE name = ?", (port, endpoint))

    def rotate_key(self, endpoint: str, key: KeyName) -> str:
        """Replace one key; the other one goes on working. Returns the new one."""
        with self._transaction() as db:
            keys = {**_require(db, endpoint).keys, key: _new_key()}
            db.execute("UPDATE endpoints SET keys = ? WHERE name = ?", (json.dumps(keys), endpoint))
        return keys[key]

    def add(self, endpoint: str, deployment: StoredDeployment) -> StoredDeployment:
        """Add a deployment; returns the one that is there when its name is taken."""
        with self._transaction() as db:
            taken = _require(db, endpoint).deployments.get(deployment.name)
            if taken is None:
                db.execute(
                    "INSERT INTO deployments VALUES (?, ?, ?, ?, ?, ?, ?, 0)", _deployment_row(endpoint, deployment)
                )
        return taken or deployment

    def tag_deployment(self, endpoint: str, deployment: str, tags: Mapping[str, str | None]) -> None:
        """Merge tags; a value of None removes one.

        Raises:
            UsageError: no such deployment.
        """
        with self._transaction() as db:
            found = _require(db, endpoint).deployments
            if deployment not in found:
                raise _no_deployment(endpoint, deployment, found)
            merged = json.dumps(_merge(found[deployment].tags, tags))
            db.execute(
                "UPDATE deployments SET tags = ? WHERE endpoint = ? AND name = ?", (merged, endpoint, deployment)
            )

    def mark_deleting(self, endpoint: str, deployment: str) -> StoredDeployment | None:
        """Let a deployment take no new requests; returns it, None when it is gone.

        Raises:
            UsageError: it has traffic or is mirrored to.
        """
        with self._transaction() as db:
            found = _require(db, endpoint)
            if found.traffic.get(deployment) or found.mirror.get(deployment):
                raise UsageError.of(
                    f"the deployment '{deployment}' is in use",
                    where=f"endpoint '{endpoint}'",
                    found=f"traffic {found.traffic.get(deployment, 0)} %, mirror {found.mirror.get(deployment, 0)} %",
                    expected="neither traffic nor mirror",
                    fix="Give its traffic to another deployment first.",
                )
            db.execute("UPDATE deployments SET deleting = 1 WHERE endpoint = ? AND name = ?", (endpoint, deployment))
        return found.deployments.get(deployment)

    def remove(self, endpoint: str, deployment: str) -> None:
        """Forget a deployment that is marked as deleting."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM deployments WHERE endpoint = ? AND name = ? AND deleting = 1", (endpoint, deployment)
            )

    def acquire_lease(self, lease: Lease, *, now: float) -> Lease:
        """Take a lease that nobody holds, that expired by `now`, or that this token holds.

        Raises:
            LeaseHeldError: who holds it.
        """
        with self._transaction() as db:
            held = _read_lease(db, lease.endpoint)
            if held is not None and held.token != lease.token and held.expires_at > now:
                raise _held(held)
            _write_lease(db, lease)
        return lease

    def renew_lease(self, lease: Lease, *, expires_at: float) -> Lease:
        """Keep a lease longer, even an expired one, as long as nobody else took it.

        Raises:
            LeaseLostError: someone did, or it was released.
        """
        with self._transaction() as db:
            held = _read_lease(db, lease.endpoint)
            if held is None or held.token != lease.token:
                raise _lost(lease, held)
            renewed = replace(held, expires_at=expires_at)
            _write_lease(db, renewed)
        return renewed

    def release_lease(self, lease: Lease) -> None:
        """Give a lease back if this token holds it."""
        with self._transaction() as db:
            db.execute("DELETE FROM leases WHERE endpoint = ? AND token = ?", (lease.endpoint, lease.token))

    def read_lease(self, endpoint: str) -> Lease | None:
        """Return the lease that was written last and not released, expired or not."""
        if not self._path.exists():
            return None
        with self._transaction("DEFERRED") as db:
            return _read_lease(db, endpoint)

    @contextlib.contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        try:
            db = self._connect()
            db.execute(f"BEGIN {kind}")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise TransientError.of(
                "the endpoints' state cannot be used", where=str(self._path), found=str(error)
            ) from error

    def _connect(self) -> sqlite3.Connection:
        known: sqlite3.Connection | None = getattr(self._thread, "db", None)
        if known is None:
            known = _open(self._path)
            self._thread.db = known
        return known


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only a file that is not there yet: closing any descriptor of a file takes the process's locks on it away, and
    # SQLite's with them.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    keep_log(db)
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(_SCHEMA)
    return db


def _read_endpoint(db: sqlite3.Connection, endpoint: str) -> StoredEndpoint | None:
    row = db.execute(
        "SELECT environment, port, keys, traffic, mirror, tags FROM endpoints WHERE name = ?", (endpoint,)
    ).fetchone()
    if row is None:
        return None
    keys, traffic, mirror, tags = map(json.loads, row[2:])
    rows = db.execute(
        "SELECT name, model, version, digest, spec, tags, deleting FROM deployments WHERE endpoint = ? ORDER BY name",
        (endpoint,),
    )
    deployments = {one.name: one for one in map(_read_deployment, rows)}
    return StoredEndpoint(
        name=endpoint,
        environment=row[0],
        port=row[1],
        keys=keys,
        traffic=traffic,
        mirror=mirror,
        tags=tags,
        deployments=deployments,
    )


def _read_deployment(row: tuple[Any, ...]) -> StoredDeployment:
    name, model, version, digest, spec, tags, deleting = row
    return StoredDeployment(
        name=name,
        model=model,
        version=version,
        digest=digest,
        **{**json.loads(spec), "connections": tuple(json.loads(spec)["connections"])},
        tags=json.loads(tags),
        is_deleting=bool(deleting),
    )


def _deployment_row(endpoint: str, one: StoredDeployment) -> tuple[Any, ...]:
    spec = {
        "folder": one.folder,
        "connections": list(one.connections),
        "environment_variables": dict(one.environment_variables),
        "settings": dict(one.settings),
        "capture_percent": one.capture_percent,
    }
    return (endpoint, one.name, one.model, one.version, one.digest, json.dumps(spec), json.dumps(dict(one.tags)))


def _require(db: sqlite3.Connection, endpoint: str) -> StoredEndpoint:
    found = _read_endpoint(db, endpoint)
    if found is None:
        raise UsageError.of(f"no endpoint '{endpoint}'", fix="`llmops deploy` makes one.")
    return found


def _no_deployment(endpoint: str, name: str, present: Iterable[str]) -> UsageError:
    return UsageError.of(
        f"no deployment '{name}'",
        where=f"endpoint '{endpoint}'",
        expected=", ".join(f"'{one}'" for one in sorted(present)) or "no deployment exists yet",
    )


def _read_lease(db: sqlite3.Connection, endpoint: str) -> Lease | None:
    row = db.execute("SELECT token, owner, link, expires_at FROM leases WHERE endpoint = ?", (endpoint,)).fetchone()
    return row and Lease(endpoint=endpoint, token=row[0], owner=row[1], link=row[2], expires_at=row[3])


def _write_lease(db: sqlite3.Connection, lease: Lease) -> None:
    row = (lease.endpoint, lease.token, lease.owner, lease.link, lease.expires_at)
    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", row)


def _held(lease: Lease) -> LeaseHeldError:
    until = datetime.fromtimestamp(lease.expires_at, timezone.utc).isoformat(timespec="seconds")
    return LeaseHeldError.of(
        "someone else is changing the endpoint",
        where=f"endpoint '{lease.endpoint}'",
        found=" ".join(filter(None, (lease.owner, lease.link, f"until {until}"))),
        fix="Wait until that rollout has ended, then run the same command again.",
    )


def _lost(lease: Lease, held: Lease | None) -> LeaseLostError:
    return LeaseLostError.of(
        "this driver may no longer change the endpoint",
        where=f"endpoint '{lease.endpoint}'",
        found=f"taken over by {held.owner}" if held else "the lease was given back",
    )


def _merge(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**tags, **changes}.items() if value is not None}


def _without_zeros(percents: Mapping[str, int]) -> dict[str, int]:
    return {name: percent for name, percent in percents.items() if percent}


def _new_key() -> str:
    return secrets.token_urlsafe(32)
