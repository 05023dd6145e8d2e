"""`llmops emulator`: Azure Machine Learning on this machine, to rehearse a pipeline before it meets a subscription."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.commands.context import Context
from llmops.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from llmops.emulator.emulator import Emulator


@dataclass(frozen=True, kw_only=True)
class EmulatorOptions:
    """How the emulator is started.

    Attributes:
        port: 0 picks a free one.
        folder: keeps its state; None forgets it at the end.
        workspaces, registries: names that exist; empty: every name does.
        connections_of: environment of the project whose connections every workspace has; None: none.
        faults: YAML file with rules.
        settings: YAML file with settings of the service.
        python: interpreter in which flows run and deployments serve; the driver's own when None.
        requests: file for the record of requests, one JSON object per line.
    """

    port: int = 0
    folder: Path | None = None
    workspaces: Sequence[str] = field(default_factory=tuple)
    registries: Sequence[str] = field(default_factory=tuple)
    connections_of: str | None = None
    faults: Path | None = None
    settings: Path | None = None
    requests: Path | None = None
    python: str | None = None


def start(*, context: Context, options: EmulatorOptions, env_file: Path | None = None) -> int:
    """Serve until Ctrl-C; one line of JSON on standard output names the port and the variables that a client needs.

    Args:
        context: where the command runs.
        options: how to start.
        env_file: takes the variables too, `NAME=value` on each line, appended as GitHub Actions wants it.

    Raises:
        UsageError: an option is wrong, or the extra `emulator` is not installed.
        BackendError, DeadlineError: Azurite cannot be installed or does not start.
    """
    with _running(context, options) as emulator:
        variables = emulator.environment()
        if env_file is not None:
            with env_file.open("a", encoding="utf-8") as handle:
                handle.writelines(f"{name}={value}\n" for name, value in variables.items())
        context.write(json.dumps({"port": emulator.port, "pid": os.getpid(), "environment": dict(variables)}))
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return ExitCode.PASS


def run(*, context: Context, options: EmulatorOptions, command: Sequence[str]) -> int:
    """Run a command that reaches the emulator instead of Azure.

    Returns:
        The command's own exit code.

    Raises:
        UsageError: there is no such command; for the rest, see `start`.
    """
    if not command:
        raise UsageError.of("no command to run", expected="llmops emulator run -- COMMAND …")
    if shutil.which(command[0], path=context.env.get("PATH")) is None:
        raise UsageError.of("no such command", found=command[0])
    with _running(context, options) as emulator:
        env = {**context.env, **emulator.environment()}
        code = _wait(subprocess.Popen(list(command), env=env, cwd=context.folder))
        _report(context, emulator)
    return code


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the command; it gets Ctrl-C itself, and SIGTERM is handed on."""
    while True:
        try:
            code = child.wait()
            return 128 - code if code < 0 else code
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)


def _report(context: Context, emulator: Emulator) -> None:
    journal = emulator.cloud.journal
    context.say(f"emulator: {journal.last_number()} requests")
    for host in journal.refused():
        context.say(f"emulator: refused to let through: {host.method} {host.target}")
    for fault in emulator.cloud.faults.pending():
        if fault.count is not None:
            context.say(f"emulator: a fault that never came about: {fault.effect} {fault.method} {fault.path}")


@contextlib.contextmanager
def _running(context: Context, options: EmulatorOptions) -> Iterator[Emulator]:
    from llmops.emulator.settings import Settings

    _require_extra()
    from llmops.emulator.emulator import Emulator, default_cache, install_azurite

    with contextlib.ExitStack() as resources:
        connections = _connections(context, options, resources)
        given = _read(options.settings)
        names = {"workspaces": tuple(options.workspaces), "registries": tuple(options.registries)}
        changes = {**names, "connections": connections}
        settings = Settings(**{**_known(given, Settings, options.settings), **changes})
        faults = _faults(options.faults)
        script = install_azurite(default_cache(), context.env)
        emulator = resources.enter_context(
            Emulator(
                azurite=script,
                settings=settings,
                port=options.port,
                folder=options.folder,
                python=options.python or sys.executable,
            )
        )
        for fault in faults:
            emulator.cloud.faults.add(fault)
        if options.requests is not None:
            resources.callback(_write_requests, emulator, options.requests)
        yield emulator


def _require_extra() -> None:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        raise UsageError.of("the emulator is not installed", fix="Install the extra: pip install 'llmops[emulator]'.")


def _connections(
    context: Context, options: EmulatorOptions, resources: contextlib.ExitStack
) -> Mapping[str, Mapping[str, Any]]:
    if options.connections_of is None:
        return {}
    from llmops.backends.azure.models import STAND_IN
    from llmops.config.connections import resolve_connections
    from llmops.config.load import find_root, load_project
    from llmops.engine.models import STAND_IN_KEY, direct_values
    from llmops.engine.standin.process import StandInProcess

    project = load_project(find_root(context.folder))
    environment = project.environments.get(options.connections_of)
    if environment is None:
        expected = ", ".join(f"'{name}'" for name in project.environments)
        raise UsageError.of(f"no environment '{options.connections_of}'", expected=expected)
    resolved = resolve_connections(environment.connections, context.env)
    stand_ins = [name for name, one in resolved.items() if one.type == "stand_in"]
    values = dict(direct_values({name: one for name, one in resolved.items() if name not in stand_ins}))
    if stand_ins:
        stand_in = resources.enter_context(StandInProcess(latency_ms=environment.stand_in.latency_ms))
        key = {"api_key": STAND_IN_KEY}
        configs, marked = {"base_url": stand_in.base_url}, {STAND_IN: "true"}
        value = {"type": "open_ai", "configs": configs, "secrets": key, "metadata": marked}
        values |= dict.fromkeys(stand_ins, value)
    return values


def _read(path: Path | None) -> Any:
    if path is None:
        return {}
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError.of("the file cannot be read", where=str(path), found=str(error)) from error


def _known(given: Any, settings: type[Any], path: Path | None) -> dict[str, Any]:
    known = {entry.name for entry in dataclasses.fields(settings)} - {"workspaces", "registries", "connections"}
    unknown = sorted(set(given) - known) if isinstance(given, dict) else [str(given)]
    if unknown:
        raise UsageError.of(
            "unknown settings of the emulator",
            where=str(path),
            found=", ".join(map(str, unknown)),
            expected=", ".join(sorted(known)),
        )
    return dict(given)


def _faults(path: Path | None) -> Sequence[Any]:
    from llmops.emulator.faults import read_faults

    return [] if path is None else read_faults(_read(path), str(path))


def _write_requests(emulator: Emulator, path: Path) -> None:
    entries = emulator.cloud.journal.entries()
    text = "".join(f"{json.dumps(dataclasses.asdict(entry))}\n" for entry in entries)
    path.write_text(text, encoding="utf-8")
