from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.config.load import load_project
from llmops.errors import UsageError

WriteFile = Callable[[str, str], Path]

FILE = "config/experiments/qa.yaml"


def problems(root: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_project(root)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flow: flows/qa", "flow: flows/qq", ":1: flow: no such flow\n  found 'flows/qq'\n  expected a path that exists, relative to the repository"),
        ("flow: flows/qa", "flow: ../qa", ":1: flow: a flow outside of the repository\n  found '../qa'\n  expected a path relative to the repository"),
        ("flow: flows/grade", "flow: flows/x", ":7: evaluators.accuracy.flow: no such flow\n  found 'flows/x'\n  expected a path that exists, relative to the repository"),
        ("data/smoke.jsonl", "data/smok.jsonl", ":3: datasets.smoke.path: no such data file\n  found 'data/smok.jsonl'\n  expected a path that exists, relative to the repository"),
        ("data/smoke.jsonl", "flows/qa/flow.dag.yaml", ":3: datasets.smoke.path: unknown data format\n  found 'flows/qa/flow.dag.yaml'\n  expected '.jsonl', '.csv'"),
        ("evaluators:", "dataset: smok\nevaluators:", ":5: dataset: no data set 'smok'\n  expected 'smoke', 'full'\n  did you mean 'smoke'?"),
        ("evaluators:", "environment: locl\nevaluators:", ":5: environment: no environment 'locl'\n  expected 'local'\n  did you mean 'local'?"),
        ("evaluators:", "environment: prod\nevaluators:", ":5: environment: no environment 'prod'\n  expected 'local'\n  Add config/environments/prod.yaml."),
        ("evaluators:", "column_mapping: {q: '${run.outputs.q}'}\nevaluators:", ":5: column_mapping.q: there is no 'run.outputs' here\n  found '${run.outputs.q}'\n  expected ${data.NAME} or a literal"),
        ("${run.outputs.answer}", "${run.output.answer}", ":9: evaluators.accuracy.column_mapping.answer: malformed reference\n  found '${run.output.answer}'\n  expected ${data.NAME}, ${run.inputs.NAME}, ${run.outputs.NAME}, ${run.line.NAME} or a literal\n  did you mean 'run.outputs'?"),
        ("gate:", "    metrics: {score: {bounds: [0, 1.0e+200]}}\ngate:", ":10: evaluators.accuracy.metrics.score.bounds: bounds of a size that cannot be added up\n  found 0 and 1e+200\n  expected up to 1e+150"),
        ("gate:", "    metrics: {score: {labels: {good: 1}}}\ngate:", ":10: evaluators.accuracy.metrics.score.labels: labels of which output?\n  Name the output that says them in `score`."),
        ("gate:", "    metrics: {score: {bounds: [1, 0]}}\ngate:", ":10: evaluators.accuracy.metrics.score.bounds: no room between the bounds\n  found 1 and 0\n  expected smaller, larger"),
        ("min: 0.8", "on_inconclusive: warn", ":12: gate.thresholds[0]: a threshold without a limit\n  expected 'min', 'max' or 'max_regression'"),
        ("min: 0.8", "min: 0.8\n      max: 0.7", ":12: gate.thresholds[0]: limits that nothing can meet\n  found min 0.8, max 0.7\n  expected min at most max"),
        ("min: 0.8", "min: 0.8\n    - metric: accuracy.score\n      max: 1", ":14: gate.thresholds[1].metric: metric 'accuracy.score' given twice\n  found first in gate.thresholds[0]"),
        ("accuracy.score", "acc.score", ":12: gate.thresholds[0].metric: no evaluator 'acc'\n  found 'acc.score'\n  expected evaluator.metric with one of 'accuracy'\n  A metric whose name has a dot is written with its evaluator in front."),
    ],
)  # fmt: skip
def test_rule_names_place_found_and_expected(root: Path, write: WriteFile, old: str, new: str, message: str) -> None:
    write(FILE, (root / FILE).read_text(encoding="utf-8").replace(old, new))
    assert problems(root) == [FILE + message]


def test_limits_without_an_evaluator_are_a_problem(root: Path, write: WriteFile) -> None:
    text = "flow: flows/qa\ndatasets: {smoke: {path: data/smoke.jsonl}}\ngate: {thresholds: [{metric: a, min: 1}]}\n"
    write(FILE, text)
    assert problems(root) == [
        f"{FILE}:3: gate.thresholds: limits on metrics, but no evaluator that could report them\n  Add an evaluator."
    ]


def test_missing_environment_file_is_a_problem_even_for_the_default(root: Path) -> None:
    (root / "config/environments/local.yaml").unlink()
    assert problems(root) == [
        f"{FILE}:1: environment: no environment 'local'\n  expected none exists\n  Add config/environments/local.yaml."
    ]


def test_value_that_the_schema_refused_is_not_judged_again(root: Path, write: WriteFile) -> None:
    write(FILE, "flow: flows/qa\ndatasets: 3\ndataset: smoke\n")
    assert problems(root) == [f"{FILE}:2: datasets: wrong type\n  found a whole number\n  expected a mapping"]


def test_secret_in_a_file_is_refused_and_not_shown(root: Path, write: WriteFile) -> None:
    write("config/environments/local.yaml", "connections:\n  model:\n    type: open_ai\n    api_key: hunter2\n")
    assert problems(root) == [
        "config/environments/local.yaml:4: connections.model.api_key: a secret in a file\n"
        "  found a literal value, not shown\n"
        "  expected ${env:NAME}\n"
        "  Put the secret into an environment variable and refer to it."
    ]


def test_field_that_the_type_of_connection_lacks_is_a_problem(root: Path, write: WriteFile) -> None:
    write("config/environments/local.yaml", "connections:\n  model: {type: azure_open_ai, base_url: x}\n")
    assert problems(root) == [
        "config/environments/local.yaml:2: connections.model.base_url: "
        "a connection of type 'azure_open_ai' has no 'base_url'\n"
        "  expected 'api_key', 'api_base', 'api_version'"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("requires: {gates: [qb]}", "requires.gates[0]: no experiment 'qb'\n  expected 'qa'"),
        (
            "rollout: {steps: [{percent: 50}, {percent: 50}]}",
            "rollout.steps[1]: a step that does not rise\n  found 50 %\n  expected more than 50, the step before",
        ),
        ("rollout: {strategy: fast}", "rollout.strategy: "),
    ],
)
def test_rules_of_releases_that_make_no_sense_are_reported(
    root: Path, write: WriteFile, text: str, message: str
) -> None:
    write("config/environments/prod.yaml", f"backend: local\n{text}\n")
    (problem,) = problems(root)
    assert message in problem
