"""Names the attacks that do no damage, for one defence after the other.

Writes a line once it is ready. Reads names of defences, a line each; answers each with a line of JSON, null when the
attacks cannot be tried. Started in a copy of the code that is changed between the lines: a fork answers each, which
imports our code as it is then; what others wrote is imported before.
"""

from __future__ import annotations

import json
import os
import sys

import tests.attacks.corpus  # noqa: F401  # what every fork would import itself


def forget_our_modules() -> None:
    """Let each fork import them anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"llmops", "tests"}]:
        del sys.modules[name]


def answer(defence: str) -> None:
    """Answer in a fork."""
    child = os.fork()
    if child == 0:
        from tests.attacks.corpus import harmless

        say(harmless(defence))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        say(None)


def say(harmless: list[str] | None) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(harmless) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    forget_our_modules()
    say([])
    for line in sys.stdin:
        answer(line.rstrip("\n"))
