"""Our expander of Azure Pipelines' templates: each construct on a small file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.templates.azure_expander import DEEPEST, MOST_FILES, Expander, TemplateError


def expand(folder: Path, text: str, files: dict[str, str] | None = None, **parameters: Any) -> dict[str, Any]:
    for name, content in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    repositories = {"self": folder, "llmops": folder}
    return Expander(repositories=repositories, variables={"Build.Reason": "Manual"}).expand(text, parameters)


CHOICES = """\
parameters: [{name: kind, type: string}]
steps:
  - ${{ if eq(parameters.kind, 'a') }}:
      - bash: one
      - bash: two
  - ${{ elseif eq(parameters.kind, 'b') }}:
      - bash: three
  - ${{ else }}:
      - bash: four
  - bash: last
"""


@pytest.mark.parametrize(
    ("kind", "scripts"),
    [("a", ["one", "two", "last"]), ("b", ["three", "last"]), ("c", ["four", "last"]), ("A", ["one", "two", "last"])],
)
def test_one_branch_of_a_choice_among_steps_is_taken(tmp_path: Path, kind: str, scripts: list[str]) -> None:
    assert [step["bash"] for step in expand(tmp_path, CHOICES, kind=kind)["steps"]] == scripts


def test_a_choice_in_a_mapping_merges_its_keys(tmp_path: Path) -> None:
    text = """\
variables:
  ${{ if eq(variables['Build.Reason'], 'Manual') }}:
    who: person
  ${{ else }}:
    who: machine
  ${{ insert }}:
    also: this
"""
    assert expand(tmp_path, text)["variables"] == {"who": "person", "also": "this"}


def test_a_loop_goes_over_lists_and_over_the_pairs_of_mappings(tmp_path: Path) -> None:
    text = """\
parameters:
  - {name: legs, type: object, default: {b: [1, 2], a: [3]}}
steps:
  - ${{ each leg in parameters.legs }}:
      - ${{ each n in leg.value }}:
          - bash: echo ${{ leg.key }}${{ n }}
            env: {"${{ leg.key }}": "${{ n }}"}
"""
    steps = expand(tmp_path, text)["steps"]
    assert [step["bash"] for step in steps] == ["echo b1", "echo b2", "echo a3"]
    assert steps[0]["env"] == {"b": 1}


def test_a_list_of_steps_is_spliced_in_where_it_is_named(tmp_path: Path) -> None:
    text = """\
parameters: [{name: before, type: stepList, default: []}]
steps:
  - ${{ parameters.before }}
  - bash: mine
"""
    assert expand(tmp_path, text)["steps"] == [{"bash": "mine"}]
    given = expand(tmp_path, text, before=[{"bash": "theirs"}])
    assert [step["bash"] for step in given["steps"]] == ["theirs", "mine"]


def test_a_lone_expression_keeps_its_type_and_one_inside_of_text_is_written(tmp_path: Path) -> None:
    text = "parameters: [{name: on, type: boolean, default: true}]\nvariables: {a: '${{ parameters.on }}', b: 'x${{ parameters.on }}'}\n"
    assert expand(tmp_path, text)["variables"] == {"a": True, "b": "xTrue"}


def test_templates_are_found_beside_the_file_that_names_them_from_the_root_and_in_other_repositories(
    tmp_path: Path,
) -> None:
    files = {
        "t/jobs/job.yml": "jobs: [{job: a, steps: [{template: ../steps/step.yml, parameters: {name: x}}]}]\n",
        "t/steps/step.yml": "parameters: [{name: name, type: string}]\nsteps: [{bash: 'echo ${{ parameters.name }}'}]\n",
    }
    for reference in ("t/jobs/job.yml", "/t/jobs/job.yml", "t/jobs/job.yml@llmops"):
        found = expand(tmp_path, f"jobs: [{{template: {reference}}}]\n", files)
        assert found["jobs"] == [{"job": "a", "steps": [{"bash": "echo x"}]}]


def test_a_pipeline_extends_a_template_with_its_parameters(tmp_path: Path) -> None:
    files = {
        "base.yml": "parameters: [{name: n, type: number, default: 1}]\nstages: [{stage: 's${{ parameters.n }}'}]\n"
    }
    text = "trigger: none\nextends: {template: base.yml@llmops, parameters: {n: 2}}\n"
    assert expand(tmp_path, text, files) == {"trigger": "none", "stages": [{"stage": "s2"}]}


def test_variables_come_from_templates_too(tmp_path: Path) -> None:
    files = {"v.yml": "variables: [{name: b, value: 2}]\n"}
    found = expand(tmp_path, "variables: [{name: a, value: 1}, {template: v.yml}]\n", files)
    assert [one["name"] for one in found["variables"]] == ["a", "b"]


PARAMETERS = "parameters: [{{name: x, {about}}}]\nvariables: {{x: '${{{{ parameters.x }}}}'}}\n"


@pytest.mark.parametrize(
    ("about", "given", "value"),
    [
        ("type: string", True, "True"),
        ("type: string", 3, "3"),
        ("type: number", "3", 3),
        ("type: boolean", "TRUE", True),
        ("type: object", {"a": [1]}, {"a": [1]}),
        ("type: stringList", ["a", 1], ["a", "1"]),
        ("type: step", {"bash": "x"}, {"bash": "x"}),
        ("type: jobList", [{"job": "a"}, {"deployment": "b"}], [{"job": "a"}, {"deployment": "b"}]),
        ("type: stageList", [{"stage": "a"}], [{"stage": "a"}]),
        ("type: string, values: [a, b]", "b", "b"),
        ("type: number, values: [1, 2]", "2", 2),
    ],
)
def test_a_value_is_cast_to_the_type_of_its_parameter(tmp_path: Path, about: str, given: Any, value: Any) -> None:
    assert expand(tmp_path, PARAMETERS.format(about=about), x=given)["variables"]["x"] == value


@pytest.mark.parametrize(
    ("about", "given"),
    [
        ("type: boolean", "yes"),
        ("type: number", "x"),
        ("type: stepList", {"bash": "x"}),
        ("type: stepList", [{"job": "x"}]),
        ("type: deployment", {"job": "x"}),
        ("type: string, values: [a, b]", "c"),
        ("type: text", "c"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, about: str, given: Any) -> None:
    with pytest.raises(TemplateError):
        expand(tmp_path, PARAMETERS.format(about=about), x=given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [{template: none.yml}]\n", "no file none.yml@self"),
        ("steps: [{template: x.yml@other}]\n", "no repository other"),
        ("steps: [{template: ../x.yml}]\n", "leaves the repository"),
        ("steps: [{template: jobs.yml}]\n", "steps expected, found jobs"),
        ("jobs: [{template: jobs.yml, parameters: {y: 1}}]\n", "Unexpected parameter 'y'"),
        ("jobs: [{template: jobs.yml, with: {y: 1}}]\n", "a reference has no with"),
        ("parameters: [{name: x, type: string}]\n", "A value for the 'x' parameter must be provided"),
        ("steps: [{bash: '${{ parametres.x }}'}]\n", "no context parametres here"),
        ("steps:\n  - ${{ else }}:\n      - bash: x\n", "else without an if before it"),
        (
            "steps:\n  - ${{ if true }}:\n      - bash: a\n  - bash: b\n  - ${{ else }}:\n      - bash: c\n",
            "else without an if before it",
        ),
        ("steps:\n  - ${{ each x in variables['Build.Reason'] }}:\n      - bash: x\n", "goes over lists"),
        ("a: 1\na: 2\n", "'a' is already defined"),
        ("steps: []\nextends: {template: jobs.yml}\n", "no stages, jobs or steps of its own"),
        ("- a\n", "a mapping is expected"),
    ],
)
def test_what_the_service_refuses_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message.replace("[", r"\[")):
        expand(tmp_path, text, {"jobs.yml": "jobs: [{job: a}]\n"})


def test_templates_that_name_each_other_end_at_the_limit(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=f"nested more than {DEEPEST} deep"):
        expand(tmp_path, "steps: [{template: x.yml}]\n", {"x.yml": "steps: [{template: x.yml}]\n"})


def test_a_pipeline_of_too_many_files_is_refused(tmp_path: Path) -> None:
    text = "steps:\n" + "  - template: x.yml\n" * MOST_FILES
    with pytest.raises(TemplateError, match=f"more than {MOST_FILES} files"):
        expand(tmp_path, text, {"x.yml": "steps: [{bash: x}]\n"})
