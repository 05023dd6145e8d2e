"""Turns the question around; a question may also ask for trouble: `order:argument`."""

import ctypes
import os
import signal
import subprocess
import sys
import time

from promptflow.core import tool


def fail(argument: str) -> None:
    raise ValueError(f"asked to raise {argument}")


def exit_once(path: str) -> None:
    if not os.path.exists(path):
        mark(path, "")
        os._exit(7)


def close_output(_: str) -> None:
    sys.stdout.close()
    os.close(1)


def leave_child(path: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    mark(path, str(child.pid))


def mark(path: str, text: str = "x") -> None:
    with open(path, "a") as marks:
        marks.write(text)


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.02)


def fork_and_exit(path: str) -> None:
    """Leave a process behind that has all our pipes open and is in no group of ours."""
    child = os.fork()
    if not child:
        os.setsid()
        time.sleep(600)
    open(f"{path}-{child}", "w").close()
    os._exit(5)


TROUBLE = {
    "raise": fail,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "exit": lambda code: os._exit(int(code)),
    "exit-once": exit_once,
    "system-exit": sys.exit,
    "segfault": lambda _: ctypes.string_at(0),
    "memory": lambda size: bytearray(int(size)),
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "freeze": lambda seconds: ctypes.PyDLL(None).sleep(int(seconds)),
    "fork-and-exit": fork_and_exit,
    "wait": wait_for,
    "chdir": os.chdir,
    "close": close_output,
    "child": leave_child,
    "print": print,
    "pid": lambda place: mark(os.path.join(place.partition(":")[0], str(os.getpid()))),
    "mark": mark,
}


@tool
def answer(question: str) -> str:
    order, _, argument = question.partition(":")
    if order == "long":
        return "x" * int(argument)
    if order in TROUBLE:
        TROUBLE[order](argument)
    return question[::-1]
