"""What a command and the processes that it starts use: CPU seconds and memory of each, sampled from /proc."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL_S = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
_KINDS = {"llmops.engine.gateway": "gateway", "fork-server": "worker", "engine/worker": "worker"}


@dataclass
class Used:
    """One process.

    Attributes:
        kind: driver, gateway, fork server or worker; anything else is `other`, git for instance.
        cpu_s: user and system seconds, up to the last sample.
        pss_mb: proportional set size at each sample, in units of 1 000 000 bytes: shared pages are divided among those
            who share them.
    """

    kind: str
    cpu_s: float = 0.0
    pss_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A finished command: wall seconds, and what its processes used."""

    wall_s: float
    output: str
    processes: Mapping[int, Used]

    def cpu_s(self, *kinds: str) -> float:
        """Add up the CPU seconds of some kinds of processes; of all when none is named."""
        return sum(one.cpu_s for one in self.processes.values() if not kinds or one.kind in kinds)

    def peak_mb(self, kind: str) -> float:
        """Return the largest proportional set size that a process of this kind had; 0 when there was none."""
        return max((max(one.pss_mb) for one in self.processes.values() if one.kind == kind and one.pss_mb), default=0.0)

    def count(self, kind: str) -> int:
        """Count the processes of a kind."""
        return sum(one.kind == kind for one in self.processes.values())


def allow_bytecode() -> None:
    """Let the commands that are measured keep what they compile, as Python does unless it is told not to."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def watch(command: list[str], *, cwd: Path, env: Mapping[str, str]) -> Usage:
    """Run a command to its end and sample all its processes; an exit code other than 0 is an error."""
    started = time.perf_counter()
    processes: dict[int, Used] = {}
    done = threading.Event()
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        sampler = threading.Thread(target=_sample, args=[child.pid, processes, done])
        sampler.start()
        output, errors = child.communicate()
        done.set()
        sampler.join()
    assert child.returncode == 0, errors
    return Usage(wall_s=time.perf_counter() - started, output=output, processes=processes)


def _sample(root: int, processes: dict[int, Used], done: threading.Event) -> None:
    while not done.wait(INTERVAL_S):
        for pid in _tree(root):
            try:
                _add_sample(root, pid, processes)
            except (OSError, IndexError):
                continue  # it has ended meanwhile


def _add_sample(root: int, pid: int, processes: dict[int, Used]) -> None:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    used = processes.setdefault(pid, Used(kind=_kind_of(root, pid)))
    used.cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    used.pss_mb.append(next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1.024e-3)


def _kind_of(root: int, pid: int) -> str:
    if pid == root:
        return "driver"
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    kind = next((kind for sign, kind in _KINDS.items() if sign in command), "other")
    is_server = "fork-server" in command and _parent_of(pid) == root
    return "fork server" if is_server else kind


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def _tree(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(_parent_of(int(entry.name)), []).append(int(entry.name))
            except (OSError, IndexError):
                continue
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])
