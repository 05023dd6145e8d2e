from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.lint import lint_project
from llmops.flows.lint.rules import RULES, rule_table
from tests.projects import TinyProject

CORPUS = Path(__file__).parents[1] / "lint_corpus"
MOODS = "data/moods.jsonl"
MOOD = "config/experiments/mood.yaml"
FLOW = "flows/few-shot/flow.dag.yaml"


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """The second half of the corpus, in a repository of its own."""
    target = tmp_path / "project"
    shutil.copytree(CORPUS / "after", target)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    subprocess.run(["git", "add", "-A"], cwd=target, check=True)
    return TinyProject(target)


def found(project: TinyProject, code: str) -> list[str]:
    return [f"{item.place}: {item.message}" for item in lint_project(project.root) if item.code == code]


def append(name: str, text: str) -> Callable[[TinyProject], object]:
    return lambda project: project.write(name, (project.root / name).read_text(encoding="utf-8") + text)


def replace(name: str, old: str, new: str) -> Callable[[TinyProject], object]:
    return lambda project: project.replace(name, old, new)


def row(text: str, mood: str) -> str:
    return json.dumps({"text": text, "mood": mood}) + "\n"


def many_rows(project: TinyProject) -> None:
    rows = [row(f"Number {n} of many sentences", "bad" if n else "good") for n in range(40)]
    project.write(MOODS, "".join(rows))


def commit_cache(project: TinyProject) -> None:
    project.write("flows/echo/.promptflow/flow.tools.json", "{}")
    subprocess.run(["git", "add", "-A", "--force"], cwd=project.root, check=True)


DEFECTS: list[tuple[str, str, Callable[[TinyProject], object], str]] = [
    ("LL801", "an unknown key", append(MOOD, "gates: {}\n"), f"{MOOD}:12:1"),
    ("LL802", "a column that is not there", replace(MOOD, "data.text", "data.txt"), f"{MOOD}:4:1"),
    ("LL802", "an output that is not there", replace(MOOD, "outputs.mood", "outputs.moods"), f"{MOOD}:8:1"),
    ("LL802", "an input that is not there", replace(MOOD, "{sentence:", "{sentenc:"), f"{MOOD}:4:1"),
    ("LL803", "a metric nobody logs", replace(MOOD, "metric: accuracy", "metric: acuracy"), f"{MOOD}:11:1"),
    ("LL804", "an unknown connection", replace(FLOW, "connection: model", "connection: modell"), f"{FLOW}:19:1"),
    ("LL805", "an example as row", append(MOODS, row("What a lovely morning on the river", "good")), f"{MOOD}:3:1"),
    ("LL806", "a row twice", append(MOODS, row("We danced until the band went home", "good")), f"{MOOD}:3:1"),
    ("LL806", "a row with two labels", append(MOODS, row("We danced until the band went home", "bad")), f"{MOOD}:3:1"),
    ("LL807", "a row without label", append(MOODS, row("Nobody knows what this is", "")), f"{MOOD}:3:1"),
    ("LL808", "one label in most rows", many_rows, f"{MOOD}:3:1"),
    ("LL809", "a line that is no JSON", append(MOODS, "{'text': 1}\n"), f"{MOODS}:5:2"),
    ("LL810", "an unknown variant", replace("config/experiments/cleaning.yaml", "variant_1", "variant_7"), ""),
    ("LL810", "an unknown node", replace("config/experiments/cleaning.yaml", "{clean:", "{cleam:"), ""),
    ("LL811", "a slice by no column", replace(MOOD, "min: 0.5}", "min: 0.5, slices: [topic]}"), f"{MOOD}:11:1"),
    (
        "LL501",
        "a callable that is not there",
        replace(MOOD, "flow: flows/few-shot", "flow: app.main:run"),
        f"{MOOD}:1:1",
    ),
    ("LL702", "a committed cache", commit_cache, "flows/echo/.promptflow:1:1"),
    (
        "LL703",
        "attributes that fix nothing",
        lambda p: p.write(".gitattributes", "* text=auto\n"),
        ".gitattributes:1:1",
    ),
    ("LL703", "one kind of file left out", replace(".gitattributes", "*.py text eol=lf\n", ""), ".gitattributes:1:1"),
]


@pytest.mark.parametrize(("code", "what", "change", "place"), DEFECTS, ids=[f"{d[0]} {d[1]}" for d in DEFECTS])
def test_a_defect_of_configuration_data_or_repository_is_found_at_its_place(
    project: TinyProject, code: str, what: str, change: Callable[[TinyProject], object], place: str
) -> None:
    assert found(project, code) == []
    change(project)
    assert any(item.startswith(place) for item in found(project, code)), (what, found(project, code))


def test_a_correct_project_has_no_finding_and_exits_with_0(project: TinyProject) -> None:
    assert project.run("lint") == (0, "Nothing to report.\n", "")


def test_a_registered_data_set_is_left_to_its_workspace(project: TinyProject) -> None:
    project.replace(MOOD, "path: data/moods.jsonl", "path: azureml:moods:3")
    assert found(project, "LL809") == []


def test_an_error_exits_with_2_and_says_place_code_message_and_fix(project: TinyProject) -> None:
    project.replace(FLOW, "${judge.output}", "${juge.output}")
    answer = project.run("lint")
    assert answer.code == 2
    assert answer.out.splitlines()[:2] == [
        f"{FLOW}:4:24: LL101 error: output 'mood' refers to the unknown node 'juge'",
        "  did you mean 'judge'?",
    ]


def test_warnings_fail_only_when_they_are_asked_to(project: TinyProject) -> None:
    project.write(".gitattributes", "* text=auto\n")
    assert (project.run("lint").code, project.run("lint", "--strict").code) == (0, 2)
    assert project.run("lint", env={"LLMOPS_STRICT": "true"}).code == 2


def test_paths_limit_what_is_reported_and_must_exist(project: TinyProject) -> None:
    project.replace(FLOW, "${judge.output}", "${juge.output}")
    assert project.run("lint", "flows/echo").code == 0
    assert project.run("lint", "flows/few-shot", "flows/echo").code == 2
    answer = project.run("lint", "flows/none")
    assert (answer.code, answer.err) == (2, "error: flows/none: no such file or folder\n")


def test_a_comment_with_a_reason_silences_a_finding_on_its_line(project: TinyProject) -> None:
    project.replace(
        FLOW, "    temperature: 0", "    temperature: 9 # llmops: ignore[LL210] a test of the service's limits"
    )
    assert project.run("lint").out == "Nothing to report.\n"
    project.replace(FLOW, " a test of the service's limits", "")
    assert [item.code for item in lint_project(project.root)] == ["LL210", "LL003"]


def test_json_gives_every_part_of_a_finding(project: TinyProject) -> None:
    project.replace(FLOW, "    temperature: 0", "    temperature: 9")
    (item,) = json.loads(project.run("lint", "--json").out)["findings"]
    place = {"file": FLOW, "line": 15, "column": 5}
    title, fix = RULES["LL210"].title, RULES["LL210"].fix
    message = "node 'judge' has temperature 9"
    assert item == {"code": "LL210", "severity": "error", **place, "title": title, "message": message, "fix": fix}


def test_sarif_is_what_the_standard_and_code_scanning_ask_for(project: TinyProject) -> None:
    project.replace(FLOW, "    temperature: 0", "    temperature: 9")
    project.run("lint", "--sarif", "out/lint.sarif")
    document: dict[str, Any] = json.loads((project.root / "out/lint.sarif").read_text(encoding="utf-8"))
    (run,) = document["runs"]
    (result,) = run["results"]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert (document["version"], rule["id"], result["level"]) == ("2.1.0", "LL210", "error")
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": FLOW},
        "region": {"startLine": 15, "startColumn": 5},
    }
    assert re.fullmatch(r"[0-9a-f]{64}", result["partialFingerprints"]["llmops/v1"])


def test_a_ci_system_gets_annotations_in_its_own_words(project: TinyProject) -> None:
    project.replace(FLOW, "    temperature: 0", "    temperature: 9")
    github = project.run("lint", env={"GITHUB_ACTIONS": "true"}).out
    azure = project.run("lint", env={"TF_BUILD": "True"}).out
    title = "LL210 a model parameter out of its range"
    assert f"::error file={FLOW},line=15,col=5,title={title}::node 'judge' has temperature 9" in github
    assert f"##vso[task.logissue type=error;sourcepath={FLOW};linenumber=15;columnnumber=5;code=LL210;]" in azure


def test_text_of_a_flow_cannot_give_a_ci_system_a_command(project: TinyProject) -> None:
    project.replace(FLOW, "${judge.output}", "${##vso[task.setvariable variable=x]y.output}")
    lines = project.run("lint", env={"TF_BUILD": "True"}).out.splitlines()
    assert [line for line in lines if "##vso" in line and not line.startswith("##vso[task.logissue ")] == []
    assert all(line.count("##vso") <= 1 for line in lines)


def test_a_repository_without_configuration_is_judged_by_its_flows(project: TinyProject) -> None:
    shutil.rmtree(project.root / "config")
    assert project.run("lint").out == "Nothing to report.\n"
    project.replace(FLOW, "${judge.output}", "${juge.output}")
    assert project.run("lint").code == 2


def test_nothing_of_the_users_is_imported(project: TinyProject) -> None:
    project.write(
        "flows/echo/echo.py",
        "raise SystemExit('imported')\n\nfrom promptflow.core import tool\n\n\n@tool\ndef f(text):\n    return text\n",
    )
    assert project.run("lint").out == "Nothing to report.\n"


def test_explain_says_what_why_and_how_to_silence(project: TinyProject) -> None:
    answer = project.run("explain", "ll302")
    assert answer.out.startswith("LL302 (error): a template variable that no input feeds\n\nIt renders as nothing")
    assert answer.out.endswith("Silence one place: # llmops: ignore[LL302] reason\n")
    unknown = project.run("explain", "LL999")
    assert (unknown.code, unknown.err.splitlines()[0]) == (2, "error: there is no rule 'LL999'")


def test_the_page_lists_the_rules_as_they_are(root: Path) -> None:
    page = (root / "docs" / "lint.md").read_text(encoding="utf-8")
    assert f"<!-- rules -->\n{rule_table()}\n<!-- end -->" in page


def test_every_finding_has_a_rule(root: Path) -> None:
    sources = [*(root / "llmops/flows/lint").glob("*.py"), root / "llmops/commands/lint_configuration.py"]
    used = {code for path in sources for code in re.findall(r'"(LL\d{3})"', path.read_text(encoding="utf-8"))}
    assert used == set(RULES)
