"""Turns the question around; a question may also ask for trouble."""

import ctypes
import os
import signal
import subprocess
import sys
import time

from promptflow.core import tool


@tool
def answer(question: str) -> str:  # noqa: PLR0912 one for each kind of trouble
    order, _, argument = question.partition(":")
    if order == "raise":
        raise ValueError(f"asked to raise {argument}")
    if order == "sleep":
        time.sleep(float(argument))
    if order == "exit":
        os._exit(int(argument))
    if order == "exit-once" and not os.path.exists(argument):
        open(argument, "w").close()
        os._exit(7)
    if order == "system-exit":
        sys.exit(argument)
    if order == "segfault":
        ctypes.string_at(0)
    if order == "memory":
        bytearray(int(argument))
    if order == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "freeze":
        ctypes.PyDLL(None).sleep(int(argument))
    if order == "fork-and-exit":
        fork_and_exit(argument)
    if order == "wait":
        while not os.path.exists(argument):
            time.sleep(0.02)
    if order == "chdir":
        os.chdir(argument)
    if order == "close":
        sys.stdout.close()
        os.close(1)
    if order == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(argument, "w") as file:
            file.write(str(child.pid))
    if order == "long":
        return "x" * int(argument)
    if order == "print":
        print(argument)
    if order == "pid":
        with open(os.path.join(argument.partition(":")[0], str(os.getpid())), "a") as marks:
            marks.write("x")
    if order == "mark":
        with open(argument, "a") as marks:
            marks.write("x")
    return question[::-1]


def fork_and_exit(path: str) -> None:
    """Leave a process behind that has all our pipes open and is in no group of ours."""
    child = os.fork()
    if not child:
        os.setsid()
        time.sleep(600)
    open(f"{path}-{child}", "w").close()
    os._exit(5)
