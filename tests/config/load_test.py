from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.config.load import find_root, load_project, locate, pick_experiments
from llmops.config.model import Connection, Experiment
from llmops.core.limits import Threshold
from llmops.errors import UsageError

WriteFile = Callable[[str, str], Path]


def problems(root: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_project(root)
    return [str(problem) for problem in caught.value.problems]


def experiment_text(root: Path) -> str:
    return (root / "config/experiments/qa.yaml").read_text(encoding="utf-8")


def test_project_is_read_into_frozen_values(root: Path) -> None:
    project = load_project(root)
    experiment = project.experiments["qa"]
    assert isinstance(experiment, Experiment)
    assert experiment.gate.thresholds == (Threshold(metric="accuracy.score", min=0.8),)
    assert experiment.concurrency == 16
    assert project.environments["local"].connections == {"model": Connection(type="stand_in")}
    assert (project.root, project.state) == (root, root / ".llmops")


def test_root_is_the_nearest_folder_upwards_with_experiments(root: Path) -> None:
    assert find_root(root / "flows" / "qa") == root


def test_folder_without_project_above_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_root(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no llmops project\n"
        "  expected a folder 'config/experiments' here or in a folder above\n"
        "  Run the command inside of a project, or create that folder with one file per experiment."
    )


def test_name_is_the_stem_of_the_file_unless_given(root: Path, write: WriteFile) -> None:
    write("config/experiments/other.yml", "name: renamed\n" + experiment_text(root))
    assert list(load_project(root).experiments) == ["qa", "renamed"]


def test_project_without_experiments_is_an_error(root: Path) -> None:
    (root / "config/experiments/qa.yaml").unlink()
    assert problems(root) == [f"{root}/config/experiments: no experiments\n  expected one YAML file per experiment"]


def test_problems_of_all_files_come_at_once_in_the_order_of_lines(root: Path, write: WriteFile) -> None:
    write("config/experiments/qa.yaml", experiment_text(root) + "repeat: 0\nconcurency: 4\n")
    write("config/experiments/zz.yaml", "flow: [\n")
    write("config/environments/local.yaml", "backnd: local\n")
    assert [text.splitlines()[0] for text in problems(root)] == [
        "config/experiments/qa.yaml:14: repeat: too small",
        "config/experiments/qa.yaml:15: concurency: unknown key",
        "config/experiments/zz.yaml:2:1: not valid YAML",
        "config/environments/local.yaml:1: backnd: unknown key",
    ]


def test_two_files_of_one_name_are_a_problem(root: Path, write: WriteFile) -> None:
    write("config/experiments/qa.yml", experiment_text(root))
    assert problems(root) == [
        "config/experiments/qa.yml:1: name: the name 'qa' is taken\n  found also in config/experiments/qa.yaml:1"
    ]


def test_name_that_another_file_gives_is_taken(root: Path, write: WriteFile) -> None:
    write("config/experiments/zz.yaml", experiment_text(root) + "name: qa\n")
    assert problems(root) == [
        "config/experiments/zz.yaml:14: name: the name 'qa' is taken\n  found also in config/experiments/qa.yaml:1"
    ]


def test_file_name_that_is_no_name_is_a_problem(root: Path, write: WriteFile) -> None:
    write("config/experiments/my qa.yaml", experiment_text(root))
    assert problems(root) == [
        "config/experiments/my qa.yaml:1: name: not a valid name\n"
        "  found 'my qa'\n"
        "  expected a name that matches ^[A-Za-z0-9][A-Za-z0-9._-]*$\n"
        "  Rename the file, or add the key 'name'."
    ]


def test_hidden_files_and_other_types_are_not_read(root: Path, write: WriteFile) -> None:
    write("config/experiments/.qa.yaml", "broken: [")
    write("config/experiments/README.md", "# Experiments")
    assert list(load_project(root).experiments) == ["qa"]


def test_override_is_judged_on_top_of_its_experiment(root: Path, write: WriteFile) -> None:
    overrides = "overrides:\n  qa:\n    dataset: ful\n    gate:\n      thresholds:\n        - metric: acuracy.score\n          min: 0.5\n"
    write("config/environments/prod.yaml", overrides)
    assert problems(root) == [
        "config/environments/prod.yaml:3: overrides.qa.dataset: no data set 'ful'\n"
        "  expected 'smoke', 'full'\n"
        "  did you mean 'full'?",
        "config/environments/prod.yaml:6: overrides.qa.gate.thresholds[0].metric: no evaluator 'acuracy'\n"
        "  found 'acuracy.score'\n"
        "  expected evaluator.metric with one of 'accuracy'\n"
        "  did you mean 'accuracy'?",
    ]


def test_override_that_adds_a_data_set_needs_all_of_it(root: Path, write: WriteFile) -> None:
    write("config/environments/prod.yaml", "overrides:\n  qa:\n    datasets:\n      big: {}\n")
    assert problems(root) == [
        "config/environments/prod.yaml:4: overrides.qa.datasets.big: missing key 'path'\n"
        "  expected JSON Lines (.jsonl) or CSV (.csv) file, relative to the repository."
    ]


def test_override_of_part_of_an_evaluator_is_sound(root: Path, write: WriteFile) -> None:
    write("config/environments/prod.yaml", "overrides:\n  qa:\n    evaluators:\n      accuracy: {variants: {n: v}}\n")
    assert load_project(root).environments["prod"].overrides == {
        "qa": {"evaluators": {"accuracy": {"variants": {"n": "v"}}}}
    }


def test_override_of_an_unknown_experiment_is_a_problem(root: Path, write: WriteFile) -> None:
    write("config/environments/prod.yaml", "overrides:\n  qaa: {}\n")
    assert problems(root) == [
        "config/environments/prod.yaml:2: overrides.qaa: no experiment 'qaa'\n  expected 'qa'\n  did you mean 'qa'?"
    ]


def test_experiments_are_picked_in_the_order_asked(root: Path, write: WriteFile) -> None:
    write("config/experiments/zz.yaml", experiment_text(root))
    project = load_project(root)
    assert [experiment.name for experiment in pick_experiments(project, ["zz", "qa", "zz"])] == ["zz", "qa"]
    assert [experiment.name for experiment in pick_experiments(project, [])] == ["qa", "zz"]


def test_unknown_experiments_are_named_with_a_near_match(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pick_experiments(load_project(root), ["qaa", "summary"])
    assert str(caught.value) == (
        "no experiment 'qaa'\n  expected 'qa'\n  did you mean 'qa'?\nno experiment 'summary'\n  expected 'qa'"
    )


def test_setting_is_located_after_loading(root: Path, write: WriteFile) -> None:
    write("config/environments/local.yaml", "overrides:\n  qa:\n    concurrency: 2\n")
    project = load_project(root)
    path = ("evaluators", "accuracy", "column_mapping", "answer")
    assert locate(project, "qa", path) == f"config/experiments/qa.yaml:9: {'.'.join(path)}"
    assert locate(project, "qa", ("concurrency",), environment="local") == (
        "config/environments/local.yaml:3: overrides.qa.concurrency"
    )
