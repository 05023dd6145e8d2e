from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from llmops.cli.main import EPILOG
from llmops.errors import BackendError, DeadlineError, ExitCode, LlmopsError, Problem, UsageError, first_to_report


def test_every_exit_code_is_distinct_and_stands_in_readme_and_help(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert len({int(code) for code in ExitCode}) == len(ExitCode)
    for code in ExitCode:
        assert f"| {int(code)} |" in readme
        assert f"{int(code)} " in EPILOG


def test_each_class_of_error_has_a_code_of_its_own() -> None:
    classes: list[type[LlmopsError]] = [UsageError, BackendError, DeadlineError]
    assert [int(cls.exit_code) for cls in classes] == [2, 4, 5]
    assert len({cls.exit_code for cls in classes}) == len(classes)


def test_a_problem_says_where_what_found_expected_and_what_to_do() -> None:
    problem = Problem(what="no such metric", where="a.yaml:3", found="'x'", expected="'y'", fix="did you mean 'y'?")
    assert str(problem) == "a.yaml:3: no such metric\n  found 'x'\n  expected 'y'\n  did you mean 'y'?"


@pytest.mark.parametrize("codes", list(itertools.permutations([10, 11, 0, 2])))
def test_the_worst_of_several_exit_codes_is_reported_in_any_order(codes: tuple[int, ...]) -> None:
    assert first_to_report(ExitCode(code) for code in codes) == ExitCode.USAGE


def test_several_experiments_report_3_2_4_5_10_11_0_in_this_order() -> None:
    order = [3, 2, 4, 5, 10, 11, 0]
    found = [int(first_to_report(ExitCode(code) for code in order[start:])) for start in range(len(order))]
    assert found == order
