from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.sealing.child.sitecustomize import is_local
from tests.sealing.environment import sealed, without_secrets

PUBLIC = "192.0.2.1"  # reserved for documentation: nobody is there
REFUSED = f"tests reach loopback only, not '{PUBLIC}'"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", b"127.0.0.1", None])
def test_loopback_is_local(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", [PUBLIC, "example.org", "127.example.org", "127.0.0.example", "10.0.0.1", b"8.8.8.8"])
def test_everything_else_is_not_local(host: object) -> None:
    assert not is_local(host)


def test_a_connection_to_another_machine_is_refused() -> None:
    with socket.socket() as connection, pytest.raises(RuntimeError, match=REFUSED):
        connection.connect((PUBLIC, 80))


def test_a_datagram_to_another_machine_is_refused() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as connection,
        pytest.raises(RuntimeError, match=REFUSED),
    ):
        connection.sendto(b"", (PUBLIC, 9))


def test_a_name_of_another_machine_is_not_looked_up() -> None:
    with pytest.raises(RuntimeError, match=r"loopback only, not 'example\.org'"):
        socket.getaddrinfo("example.org", 443)


def test_loopback_can_be_reached() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(urllib.error.HTTPError, match="501") as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/")
        answer.value.close()
        thread.join()


def test_a_child_process_is_sealed_too() -> None:
    code = f"import socket; socket.create_connection(('{PUBLIC}', 80), timeout=5)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == 1
    assert f"LeavesTheMachineError: tests reach loopback only, not '{PUBLIC}'" in child.stderr


def test_a_child_that_is_no_python_is_sent_to_a_dead_proxy() -> None:
    child = subprocess.run(["git", "ls-remote", f"http://{PUBLIC}/x"], capture_output=True, text=True, check=False)
    assert child.returncode == 128
    assert "127.0.0.1 port 9" in child.stderr


def test_the_home_folder_is_not_the_real_one() -> None:
    home = Path.home()
    assert str(home) != pwd.getpwuid(os.getuid()).pw_dir
    assert home.is_relative_to(tempfile.gettempdir())
    assert os.environ["XDG_CONFIG_HOME"] == str(home / ".config")


def test_git_knows_no_configuration_of_the_machine() -> None:
    listed = subprocess.run(["git", "config", "--list", "--show-origin"], capture_output=True, text=True, check=True)
    origins = {line.split("\t")[0] for line in listed.stdout.splitlines()}
    assert origins <= {"command line:", "file:.git/config"} | {o for o in origins if o.endswith(".git/config")}
    assert "init.defaultbranch=main" in listed.stdout


def test_the_sealed_environment_holds_no_credential_and_no_trace_of_the_host(tmp_path: Path) -> None:
    taken = ("OPENAI_API_KEY", "AZURE_CLIENT_ID", "GITHUB_TOKEN", "MY_PASSWORD", "GITHUB_ACTIONS", "TF_BUILD", "CI")
    options = ("LLMOPS_ENVIRONMENT", "PYTHONPATH", "GIT_DIR", "NO_COLOR", "https_proxy", "VIRTUAL_ENV")
    env = sealed({**dict.fromkeys((*taken, *options), "of the machine"), "PATH": "/bin"}, tmp_path)
    assert "of the machine" not in env.values()
    assert env["PATH"] == "/bin"
    assert env["HOME"] == str(tmp_path)


def test_what_installs_packages_sees_its_settings_but_no_credential() -> None:
    env = {"HOME": "/home/me", "https_proxy": "http://proxy", "OPENAI_API_KEY": "secret", "AWS_PROFILE": "me"}
    assert without_secrets(env) == {"HOME": "/home/me", "https_proxy": "http://proxy"}


def test_the_suite_itself_runs_sealed() -> None:
    assert not [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_", "GITHUB_", "AWS_"))]
    assert os.environ["HTTPS_PROXY"] == "http://127.0.0.1:9"


def test_children_hear_ctrl_c_wherever_the_suite_was_started(root: Path, tmp_path: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import tests.sealing.plugin; "
    child = "import signal; signal.raise_signal(signal.SIGINT)"
    start = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    command, env = [sys.executable, "-c", ignoring + start], {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
