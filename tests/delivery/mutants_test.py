"""Every check that makes a step repeatable is needed: without it, the crash test is red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

TRY = """
import sys
from tests.delivery import crash_test
for name in sys.argv[1:]:
    crash_test.calls_of(crash_test.SCENARIOS[name])
    for point in crash_test.points(name):
        crash_test.try_point(point)
    for at in range(crash_test.calls_of(crash_test.SCENARIOS[name]) - 1):
        crash_test.try_stale_write(name, at)
    if name == "upgrade":
      for at in range(1, crash_test.calls_of(crash_test.SCENARIOS[name]) - 1):
          crash_test.try_race(name, at, crash_test.Scenario(lambda _: None, crash_test.deploy(3), {"3": 100}))
"""


class Mutant(NamedTuple):
    """One check taken out.

    Attributes:
        scenarios: that notice it.
    """

    file: str
    old: str
    new: str
    scenarios: tuple[str, ...] = ("upgrade",)


PLAN, DRIVER, LEASE = "llmops/core/rollout.py", "llmops/delivery/driver.py", "llmops/delivery/lease.py"
CHECKS = "llmops/core/rollout_checks.py"

MUTANTS = {
    "an endpoint that exists is not created again": Mutant(
        PLAN, "    if observed is None:\n        build.add(Ensure", "    if True:\n        build.add(Ensure"
    ),
    "a rollout under way is continued, not begun again": Mutant(
        PLAN,
        "    if underway is None:\n        underway = Underway(",
        "    if True:\n        underway = Underway(",
        ("failed blue-green over a split by hand",),
    ),
    "what is settled is left alone": Mutant(
        PLAN,
        "state.current.deployment == target and _is_settled(build.endpoint, state):",
        "state.current.deployment == target and False:",
    ),
    "the target of a rollout under way is kept": Mutant(
        PLAN,
        "target = underway.target if underway else _pick(build.endpoint, wanted) or _free_name(build.endpoint, wanted)",
        "target = _free_name(build.endpoint, wanted)",
    ),
    "a deployment of the same content is used again": Mutant(
        PLAN,
        "underway else _pick(build.endpoint, wanted) or _free_name(",
        "underway else _free_name(",
    ),
    "a probe that passed is not made again": Mutant(
        PLAN, "if rules.probe_rows and not is_proven(deployment, PROBED):", "if rules.probe_rows:"
    ),
    "an evaluation that passed is not paid again": Mutant(
        PLAN, "if wanted.evaluate and not is_proven(deployment, EVALUATED):", "if wanted.evaluate:"
    ),
    "steps that were taken are not taken back": Mutant(
        PLAN, "            if step.percent < share:\n                continue\n", ""
    ),
    "a failure that was written down is not tried again": Mutant(
        PLAN,
        "    if underway and underway.failure:\n        build.extend(",
        "    if False:\n        build.extend(",
        ("failed step",),
    ),
    "a roll back that is over does not go further back": Mutant(
        PLAN,
        "    if state.rolled_back:\n        return",
        "    if False:\n        return",
        ("roll back of a deploy that died",),
    ),
    "a roll back under way goes on": Mutant(
        PLAN,
        'if underway and underway.action == "rollback" and to in (None, underway.version):',
        "if False:",
        ("roll back",),
    ),
    "a roll back that is over still deletes what is due": Mutant(
        DRIVER,
        'if choice.kind == "already":',
        "if False:",
        ("roll back of what was rolled back before",),
    ),
    "a roll back is asked for the tags of the last one": Mutant(
        PLAN, "tags |= {PREVIOUS: None, ROLLED_BACK: str(left) if left else None}", "pass", ("roll back",)
    ),
    "a driver asks for its lease before each write": Mutant(
        LEASE, "            self._renew()\n            return call()", "            return call()"
    ),
    "a lease is asked for with one token": Mutant(
        LEASE, "token=token, owner=owner", "token=uuid.uuid4().hex, owner=owner"
    ),
    "a lease is given back again when that failed": Mutant(
        LEASE, "retry(lambda: endpoints.release_lease(lease), clock)", "endpoints.release_lease(lease)"
    ),
    "a call that failed in passing is made again": Mutant(
        LEASE,
        "        except TransientError:\n            clock.sleep(wait_s)",
        "        except TransientError:\n            raise",
    ),
    "what is proven is looked at before traffic moves": Mutant(
        DRIVER, "                self._require_proof(step.deployment)\n", "", ("dies after its evaluation",)
    ),
    "what users are answered is scored": Mutant(
        DRIVER,
        "        self._require(judgement)\n        yield judgement",
        "        yield judgement",
        ("failed live scores",),
    ),
    "an answer that never comes is a failure": Mutant(
        CHECKS, "errors=new.errors + overdue", "errors=new.errors", ("answers that never end",)
    ),
    "an older deployment goes when the next one serves": Mutant(
        PLAN,
        "    build.extend(plan_cleanup(build.endpoint, wanted.rules, now=now))\n",
        "",
        ("third version, the first one goes",),
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for name in ("llmops", "tests"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "flows"))
    shutil.copytree(root / "llmops" / "flows", folder / "llmops" / "flows", dirs_exist_ok=True)
    return folder


def try_copy(copy: Path, scenarios: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run the crash test of some scenarios on a copy of the code."""
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", TRY, *scenarios], cwd=copy, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_without_a_mutation_the_copy_is_green(copy: Path) -> None:
    result = try_copy(copy, ("upgrade",))
    assert result.returncode == 0, result.stderr


def test_the_number_of_checks_that_are_tried_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{len(MUTANTS)} checks are taken out, one at a time\n")
    assert len(MUTANTS) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_without_this_check_the_crash_test_is_red(copy: Path, name: str) -> None:
    mutant = MUTANTS[name]
    path = copy / mutant.file
    original = path.read_text(encoding="utf-8")
    assert original.count(mutant.old) == 1, "the mutation no longer fits the code"
    path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        result = try_copy(copy, mutant.scenarios)
    finally:
        path.write_text(original, encoding="utf-8")
    assert result.returncode != 0, "nothing noticed"
    assert "Error" in result.stderr
    assert "SyntaxError" not in result.stderr
    assert "NameError" not in result.stderr
