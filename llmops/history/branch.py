"""A history in a branch of a git repository: every append is one commit, pushed without force.

Nothing of it touches the clone that the driver runs in: the branch is fetched into a bare repository of its own, and a
commit is built there. A push that another job overtook is refused by git as a whole; then it is built anew on what is
there by now.
"""

from __future__ import annotations

import base64
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from llmops.errors import BackendError, TransientError, UsageError
from llmops.flows.git import git_environment
from llmops.history.stores import Env, Surroundings, missing_lines

MARK = "llmops-history"
"""A file at the top of the branch: what lacks it was not made by us and is never written to."""

ATTEMPTS = 8
TIMEOUT_S = 120

_README = "The results of scheduled evaluations, one JSON document a line. llmops appends to it; do not edit it.\n"
_AUTHOR = {f"GIT_{role}_{kind}": value for role in ("AUTHOR", "COMMITTER") for kind, value in (
    ("NAME", "llmops"), ("EMAIL", "llmops@localhost"))}  # fmt: skip
_OVERTAKEN = re.compile(
    "non-fast-forward|fetch first|cannot lock ref|failed to update ref|reference already exists|incorrect old value"
    "|stale info|remote rejected"
)
_MISSING = re.compile("couldn't find remote ref|no matching remote head", re.IGNORECASE)


@dataclass(frozen=True)
class BranchStore:
    """See `HistoryStore`.

    Args:
        around: the clone whose remote is meant, and the variables that hold a token.
        remote: name or address.
        branch: its short name.
    """

    around: Surroundings
    remote: str
    branch: str

    @property
    def place(self) -> str:
        """See `HistoryStore.place`."""
        return f"branch {self.branch} of {_without_user(self.remote)}"

    def read(self) -> Mapping[str, str]:
        """See `HistoryStore.read`."""
        with tempfile.TemporaryDirectory(prefix="llmops-history-") as folder:
            repository = self._open(Path(folder))
            tip = repository.fetch(self.branch)
            return repository.files(tip) if tip else {}

    def append(self, lines: Mapping[str, Sequence[str]]) -> int:
        """See `HistoryStore.append`."""
        with tempfile.TemporaryDirectory(prefix="llmops-history-") as folder:
            repository = self._open(Path(folder))
            for attempt in range(1, ATTEMPTS + 1):
                tip = repository.fetch(self.branch)
                texts = repository.files(tip) if tip else {}
                added = {
                    file: found
                    for file, wanted in lines.items()
                    if (found := missing_lines(texts.get(file, ""), wanted))
                }
                if not added:
                    return 0
                if repository.push(repository.commit(tip, _grown(texts, added)), self.branch):
                    return sum(map(len, added.values()))
                self.around.sleep(random.uniform(0.1, 0.5) * 2.0**attempt)
        raise TransientError.of(
            "other jobs kept appending to the history",
            where=self.place,
            fix="Run the same command again; what was measured is kept.",
        )

    def _open(self, folder: Path) -> _Repository:
        address = self._address()
        repository = _Repository(
            folder=folder, address=address, place=self.place, env=_git_variables(address, self.around.env)
        )
        repository.git("init", "--quiet", "--bare", ".")
        return repository

    def _address(self) -> str:
        """Look a remote's name up; what git does not know is an address."""
        command = ["git", "-C", str(self.around.root), "remote", "get-url", "--push", self.remote]
        answer = _run(command, git_environment(), None)
        if answer.returncode == 0:
            address = answer.stdout.decode().strip()
        elif ":" in self.remote or "/" in self.remote:
            address = self.remote
        else:
            raise UsageError.of(
                f"no remote '{self.remote}'",
                where="history.remote",
                fix="Run: git remote -v",
            )
        # A relative path is relative to the clone, and git runs elsewhere.
        local = self.around.root / address
        return str(local.resolve()) if "://" not in address and local.exists() else address


@dataclass(frozen=True, kw_only=True)
class _Repository:
    """A bare repository that lives as long as one call."""

    folder: Path
    address: str
    place: str
    env: Mapping[str, str]

    def fetch(self, branch: str) -> str:
        """Get the newest commit of the branch; empty when there is no branch.

        Raises:
            UsageError: the branch is no history.
            BackendError: the remote cannot be reached, or refuses.
        """
        self.git("update-ref", "-d", "refs/heads/history")
        answer = self.ask(
            "fetch", "--quiet", "--depth=1", "--no-tags", self.address, f"+refs/heads/{branch}:refs/heads/history"
        )
        if answer.returncode:
            said = answer.stderr.decode("utf-8", "replace")
            if _MISSING.search(said):
                return ""
            raise self._refused("the history cannot be fetched", said)
        tip = self.git("rev-parse", "refs/heads/history").decode().strip()
        if MARK not in self.git("ls-tree", "--name-only", tip).decode("utf-8", "replace").split("\n"):
            raise UsageError.of(
                "the branch holds no history",
                where=self.place,
                expected=f"a branch with the file '{MARK}' at its top, or none",
                fix="Name another branch: history.branch.",
            )
        return tip

    def files(self, tip: str) -> dict[str, str]:
        """Read every file of the history at a commit."""
        names = self.git("ls-tree", "-r", "-z", "--name-only", tip).decode("utf-8", "replace").split("\0")
        return {
            name: self.git("cat-file", "blob", f"{tip}:{name}").decode("utf-8", "replace")
            for name in names
            if name.endswith(".jsonl")
        }

    def commit(self, tip: str, texts: Mapping[str, str]) -> str:
        """Build a commit on top of another, or a first one, in which files have a new content."""
        index = {"GIT_INDEX_FILE": str(self.folder / "llmops-index")}
        self.git("read-tree", tip or "--empty", env=index)
        for name, text in {**texts, MARK: _README}.items():
            blob = self.git("hash-object", "-w", "--stdin", stdin=text.encode()).decode().strip()
            self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=index)
        tree = self.git("write-tree", env=index).decode().strip()
        parent = ["-p", tip] if tip else []
        message = b"Record scheduled evaluations [skip ci]\n"
        return self.git("commit-tree", tree, *parent, env=_AUTHOR, stdin=message).decode().strip()

    def push(self, commit: str, branch: str) -> bool:
        """Make a commit the branch's newest; False when another one came first.

        Raises:
            BackendError: the remote cannot be reached, or refuses.
        """
        answer = self.ask("push", "--quiet", self.address, f"{commit}:refs/heads/{branch}")
        said = answer.stderr.decode("utf-8", "replace")
        if answer.returncode and not _OVERTAKEN.search(said):
            raise self._refused("the history cannot be pushed", said)
        if answer.returncode and re.search("protected branch|hook declined|GH0|TF40", said):
            raise self._refused("the history may not be pushed", said)
        return answer.returncode == 0

    def git(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> bytes:
        """Run git where it cannot fail but by a bug or a full disk."""
        answer = self.ask(*arguments, env=env, stdin=stdin)
        if answer.returncode and arguments[0] != "update-ref":
            raise self._refused(f"git {arguments[0]} failed", answer.stderr.decode("utf-8", "replace"))
        return answer.stdout

    def ask(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git in the repository."""
        command = ["git", "-C", str(self.folder), "-c", "core.hooksPath=/dev/null", *arguments]
        return _run(command, {**self.env, **(env or {})}, stdin)

    def _refused(self, what: str, said: str) -> BackendError:
        last = [line for line in said.splitlines() if line.strip()][-3:]
        return BackendError.of(
            what,
            where=self.place,
            found=" ".join(last),
            fix="The job's token needs to write the repository's contents (GitHub: `contents: write`; "
            "Azure Repos: Contribute and Create branch for the build service).",
        )


def _grown(texts: Mapping[str, str], added: Mapping[str, Sequence[str]]) -> dict[str, str]:
    grown = {}
    for file, lines in added.items():
        before = texts.get(file, "")
        before += "\n" if before and not before.endswith("\n") else ""
        grown[file] = before + "".join(f"{line}\n" for line in lines)
    return grown


def _git_variables(address: str, env: Env) -> dict[str, str]:
    """Build git's variables; the job's token goes to its own server alone, and never into an argument."""
    variables = git_environment()
    header = _authorization(address, env)
    if not header:
        return variables
    number = int(variables.get("GIT_CONFIG_COUNT", "0") or "0")
    return {
        **variables,
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": f"http.{address}.extraheader",
        f"GIT_CONFIG_VALUE_{number}": f"Authorization: {header}",
    }


def _authorization(address: str, env: Env) -> str:
    servers = (
        (env.get("GITHUB_SERVER_URL", "https://github.com"), "basic", env.get("GITHUB_TOKEN", "")),
        (env.get("SYSTEM_COLLECTIONURI", ""), "bearer", env.get("SYSTEM_ACCESSTOKEN", "")),
    )
    for server, scheme, token in servers:
        if token and server and _is_below(address, server):
            value = base64.b64encode(f"x-access-token:{token}".encode()).decode() if scheme == "basic" else token
            return f"{scheme} {value}"
    return ""


def _is_below(address: str, server: str) -> bool:
    ours, theirs = urlsplit(server), urlsplit(address)
    is_same = (ours.scheme, ours.hostname, ours.port) == (theirs.scheme, theirs.hostname, theirs.port)
    return is_same and theirs.path.startswith(ours.path.rstrip("/") + "/")


def _without_user(remote: str) -> str:
    parts = urlsplit(remote)
    if "@" not in parts.netloc:
        return remote
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _run(command: Sequence[str], env: Mapping[str, str], stdin: bytes | None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command,
            input=stdin if stdin is not None else b"",
            capture_output=True,
            env={**env, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": os.devnull},
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError.of("git is not installed, or not on the PATH", fix="Install git.") from None
    except subprocess.TimeoutExpired:
        raise TransientError.of("git did not answer in time", where=command[2], found=f"{TIMEOUT_S} s") from None
