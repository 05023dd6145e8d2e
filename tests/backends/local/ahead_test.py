"""An evaluation begins while the run that it evaluates still runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmops.backends.local.ahead import FinishedLine, FinishedLines
from llmops.records import Line
from tests.projects import TinyProject, make_project

TOUCH = "    open({flag!r}, 'a').write('x')\n    return int(expected == answer)"
REFUSED = """\
    import httpx, openai
    with open({flag!r}, 'a') as flag:
        flag.write('x')
    raise openai.APIConnectionError(request=httpx.Request('POST', 'http://nowhere'))"""


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path / "project")


def let_the_evaluator(project: TinyProject, do: str, flag: Path) -> None:
    project.replace("flows/score/grade.py", "    return int(expected == answer)", do.format(flag=str(flag)))


def test_a_line_is_evaluated_while_another_line_of_its_run_still_runs(project: TinyProject, tmp_path: Path) -> None:
    """The second line waits for what the evaluator does on the first."""
    let_the_evaluator(project, TOUCH, tmp_path / "flag")
    project.rows("first", f"wait:{tmp_path / 'flag'}")
    code, verdict = project.check("--baseline", "none", "--line-timeout-s", "100")
    assert (code, verdict["candidate"]["scored"]) == (0, 2)
    assert (tmp_path / "flag").read_text(encoding="utf-8") == "xx"


def test_what_was_evaluated_ahead_counts_as_evaluated_now(project: TinyProject) -> None:
    assert project.check("--baseline", "none")[0] == 0
    (path,) = (project.root / ".llmops/runs").glob("score-*")
    shown = project.run("runs", "show", path.name, "--json")
    assert '"cached": 0' in shown.out


def test_a_line_that_its_evaluator_could_not_measure_is_asked_about_once(project: TinyProject, tmp_path: Path) -> None:
    let_the_evaluator(project, REFUSED, tmp_path / "flag")
    project.rows("first", f"wait:{tmp_path / 'flag'}")
    code, verdict = project.check("--baseline", "none", "--line-timeout-s", "100")
    assert (code, verdict["candidate"]["unmeasured"]) == (11, 2)
    assert (tmp_path / "flag").read_text(encoding="utf-8") == "xx"


def test_only_a_few_lines_are_kept_for_a_slow_taker() -> None:
    async def run() -> list[int]:
        lines = FinishedLines(most=2, takers=1)
        for row in range(5):
            lines.offer(FinishedLine({}, Line(row=row, repeat=0, status="completed", inputs={})))
        lines.end()
        taken = []
        while (found := await lines.take()) is not None:
            taken.append(found.line.row)
        return taken

    assert asyncio.run(run()) == [0, 1]
