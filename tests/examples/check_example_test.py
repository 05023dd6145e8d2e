"""The main job on the shipped example, as the README tells it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.engine.standin.process import StandInProcess
from tests.environments import copy_example
from tests.projects import TinyProject, findings, kill, wait_for

pytestmark = pytest.mark.slow

LOOP = "{% for example in examples %}"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInProcess]:
    with StandInProcess(latency_ms=20) as process:
        yield process


@pytest.fixture
def example(tmp_path: Path, root: Path, stand_in: StandInProcess) -> TinyProject:
    """The example in a repository of its own, its model a stand-in whose calls are counted from outside."""
    project = TinyProject(copy_example(root, tmp_path / "example"))
    project.replace("config/environments/local.yaml", "type: stand_in", "type: open_ai")
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=project.root, check=True)
    project.commit("first")
    stand_in.reset_stats()
    return project


def settings(stand_in: StandInProcess) -> dict[str, str]:
    return {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": stand_in.base_url}


def verdict_of(out: str) -> dict[str, object]:
    (result,) = json.loads(out)["experiments"]
    found: dict[str, object] = json.loads(Path(result["reports"]["json"]).read_text(encoding="utf-8"))
    return found


def test_the_example_passes_and_a_second_check_makes_no_model_call(
    example: TinyProject, stand_in: StandInProcess
) -> None:
    first = example.run("check", "web-classification", "--json", env=settings(stand_in))
    assert first.code == 0, first.err
    calls = stand_in.stats().calls
    assert calls == 2 * 216
    second = example.run("check", "web-classification", "--json", env=settings(stand_in))
    assert (second.code, second.out, stand_in.stats().calls) == (0, first.out, calls)


def test_removing_the_few_shot_examples_fails_against_head_and_shows_the_flips(
    example: TinyProject, stand_in: StandInProcess
) -> None:
    example.replace("flows/web-classification/classify_with_llm.jinja2", LOOP, "{% for example in [] %}")
    answer = example.run(
        "check", "web-classification", "--dataset", "smoke", "--baseline", "HEAD", "--json", env=settings(stand_in)
    )
    verdict = verdict_of(answer.out)
    assert answer.code == 10
    assert findings(verdict)["accuracy max_regression"] == "fail"
    assert verdict["regressed"] == sum(row["change"] == "regressed" for row in verdict["flipped"])  # type: ignore[attr-defined]
    html = next((example.root / ".llmops/reports").glob("*/report.html")).read_text(encoding="utf-8")
    assert "regressed" in html


def test_after_a_kill_only_the_missing_lines_reach_the_model(example: TinyProject) -> None:
    command = ("check", "web-classification", "--dataset", "smoke", "--concurrency", "2")
    with StandInProcess(latency_ms=400) as slow:
        process = example.start(*command, env=settings(slow))
        wait_for(lambda: slow.stats().calls >= 16)
        kill(process)
        assert slow.stats().calls < 40
        assert example.run(*command, env=settings(slow)).code == 0
        paid_twice = slow.stats().calls - 40
    assert 0 <= paid_twice <= 4, "only calls of lines in flight at the kill may be made again"


def test_the_variant_that_a_flag_chooses_is_the_one_that_runs(example: TinyProject, stand_in: StandInProcess) -> None:
    flag = "--variants=summarize_text_content=variant_1"
    answer = example.run(
        "check",
        "web-classification",
        "--dataset",
        "smoke",
        flag,
        "--baseline",
        "HEAD",
        "--json",
        env=settings(stand_in),
    )
    verdict = verdict_of(answer.out)
    assert verdict["candidate"]["run"]["flow"]["variants"] == {"summarize_text_content": "variant_1"}  # type: ignore[index]
    assert verdict["baseline"]["run"]["flow"]["variants"] == {}  # type: ignore[index]
    assert stand_in.stats().calls == 80
