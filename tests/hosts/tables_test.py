"""The tables of the CI systems: what is printed does what it says and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.hosts.azure_pipelines import AZURE_PIPELINES
from llmops.hosts.detect import NONE, detect
from llmops.hosts.github import GITHUB, SUMMARY_BYTES
from llmops.hosts.host import Annotation, Host, Level, worst_first
from tests.hosts.surroundings import read_outputs
from tests.reports.hostile import HOSTILE

GITHUB_COMMAND = re.compile(r"^\s*::|##\[")
AZURE_COMMAND = re.compile(r"##(vso)?\[")


def build_annotation(level: Level = "error", *, text: str = "too low", file: str = "config/a.yaml") -> Annotation:
    return Annotation(level=level, title=text, message=text, file=file, line=12)


@pytest.mark.parametrize(
    ("env", "host"),
    [
        ({"GITHUB_ACTIONS": "true"}, GITHUB),
        ({"TF_BUILD": "True"}, AZURE_PIPELINES),
        ({}, NONE),
        ({"GITHUB_ACTIONS": "", "TF_BUILD": ""}, NONE),
        ({"CI": "true"}, NONE),
    ],
)
def test_the_host_is_known_by_its_own_variable(env: dict[str, str], host: Host) -> None:
    assert detect(env) is host


def test_a_host_that_is_asked_for_wins_over_the_environment() -> None:
    assert detect({"GITHUB_ACTIONS": "true"}, asked="none") is NONE


def test_an_unknown_host_is_named_with_a_near_match() -> None:
    with pytest.raises(UsageError) as caught:
        detect({}, asked="azure-pipeline")
    assert str(caught.value) == (
        "--host: unknown host\n  found 'azure-pipeline'\n  expected github, azure-pipelines, none\n  did you mean 'azure-pipelines'?"
    )


def test_an_annotation_on_github_stands_at_its_line() -> None:
    assert GITHUB.annotate(build_annotation()) == "::error file=config/a.yaml,line=12,title=too low::too low"


def test_an_annotation_on_azure_stands_at_its_line() -> None:
    expected = "##vso[task.logissue type=error;sourcepath=config/a.yaml;linenumber=12;]too low: too low"
    assert AZURE_PIPELINES.annotate(build_annotation()) == expected


@pytest.mark.parametrize("text", [*HOSTILE, "a,b:c;d]e%f\r\n::error::g\n##vso[task.complete result=Succeeded]"])
@pytest.mark.parametrize("level", ["error", "warning", "note"])
@pytest.mark.parametrize(("host", "command"), [(GITHUB, GITHUB_COMMAND), (AZURE_PIPELINES, AZURE_COMMAND)])
def test_hostile_text_in_an_annotation_is_one_command_at_most(
    text: str, level: Level, host: Host, command: re.Pattern[str]
) -> None:
    written = host.annotate(build_annotation(level, text=text, file=text.split("\n", maxsplit=1)[0]))
    assert not re.search(r"[\r\n]", written)
    assert len(command.findall(written)) == (0 if (host.name, level) == ("azure-pipelines", "note") else 1)


def test_properties_of_github_cannot_add_properties() -> None:
    written = GITHUB.annotate(build_annotation(text="x,line=1::y"))
    assert written == "::error file=config/a.yaml,line=12,title=x%2Cline=1%3A%3Ay::x,line=1::y"


def test_properties_of_azure_cannot_add_properties() -> None:
    written = AZURE_PIPELINES.annotate(build_annotation(file="a;type=warning]b"))
    assert "sourcepath=a%3Btype=warning%5Db;linenumber=12;]" in written


def test_ten_annotations_of_a_level_are_shown_and_errors_come_first() -> None:
    levels: list[Level] = ["note", "warning", "error"]
    chosen = worst_first(build_annotation(level, text=str(at)) for at in range(30) for level in levels)
    assert [one.level for one in chosen] == ["error"] * 10 + ["warning"] * 10 + ["note"] * 10
    assert [one.title for one in chosen[:10]] == [str(at) for at in range(10)]


@pytest.mark.parametrize("value", ["plain", "", "two\nlines", "EOF\nllmops_0\nother<<x\nadmin", *HOSTILE[:3]])
def test_an_output_on_github_holds_the_value_and_sets_no_other(value: str, tmp_path: Path) -> None:
    env = {"GITHUB_OUTPUT": str(tmp_path / "out")}
    GITHUB.set_output(env, "first", value)
    GITHUB.set_output(env, "second", "2")
    assert read_outputs(tmp_path / "out") == {"first": value, "second": "2"}


def test_an_output_on_azure_is_one_command() -> None:
    (line,) = AZURE_PIPELINES.set_output({}, "matrix", "a%\n##vso[task.setvariable variable=x]y")
    assert line == (
        "##vso[task.setvariable variable=matrix;isOutput=true;isReadOnly=true;]a%AZP25%0A# #vso[task.setvariable variable=x]y"
    )


def test_a_summary_on_github_stays_below_the_limit_of_a_step(tmp_path: Path) -> None:
    env = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    report = tmp_path / "report.md"
    report.write_text("a line of the report\n" * 40_000)
    for _ in range(3):
        GITHUB.add_summary(env, report)
    written = (tmp_path / "summary").read_text()
    assert 900_000 < len(written.encode()) < SUMMARY_BYTES
    assert written.endswith("_This summary was cut; the report files have everything._\n\n")


def test_a_summary_on_azure_is_the_file_itself(tmp_path: Path) -> None:
    assert AZURE_PIPELINES.add_summary({}, tmp_path / "a.md") == [f"##vso[task.uploadsummary]{tmp_path / 'a.md'}"]


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        (GITHUB, ["::add-mask::one%25", "::add-mask::two"]),
        (AZURE_PIPELINES, ["##vso[task.setsecret]one%AZP25", "##vso[task.setsecret]two"]),
        (NONE, []),
    ],
)
def test_each_line_of_a_secret_is_masked(host: Host, lines: list[str]) -> None:
    assert list(host.mask("one%\n\ntwo\n")) == lines


@pytest.mark.parametrize(
    ("host", "env", "link"),
    [
        (GITHUB, {"GITHUB_REPOSITORY": "octo/cat", "GITHUB_RUN_ID": "7"}, "https://github.com/octo/cat/actions/runs/7"),
        (
            AZURE_PIPELINES,
            {"SYSTEM_COLLECTIONURI": "https://dev.azure.com/o/", "SYSTEM_TEAMPROJECT": "a b", "BUILD_BUILDID": "9"},
            "https://dev.azure.com/o/a%20b/_build/results?buildId=9",
        ),
        (GITHUB, {}, ""),
        (AZURE_PIPELINES, {}, ""),
        (NONE, {}, ""),
    ],
)
def test_the_run_has_an_address(host: Host, env: dict[str, str], link: str) -> None:
    assert host.run_link(env) == link
