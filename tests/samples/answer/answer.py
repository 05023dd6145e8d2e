"""Turns the question around; a question may also ask for trouble: `order:argument`."""

import ctypes
import os
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


TROUBLE = {
    "raise": fail,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "exit": lambda code: os._exit(int(code)),
    "exit-once": exit_once,
    "system-exit": sys.exit,
    "segfault": lambda _: ctypes.string_at(0),
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
