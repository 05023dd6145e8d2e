from __future__ import annotations

import pytest

from llmops.core.matrix import MAX_JOBS, batch, build_matrix


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 511, 513, 2000])
def test_every_experiment_is_in_one_batch_and_no_matrix_has_more_jobs_than_allowed(count: int) -> None:
    names = [f"e{number}" for number in range(count)]
    batches = batch(names)
    assert [name for names_of_one in batches for name in names_of_one] == names
    assert len(batches) <= 256
    assert {len(one) for one in batches} <= {count // 256, count // 256 + 1} - {0}


def test_a_job_of_several_experiments_says_so() -> None:
    jobs = build_matrix("github", [f"e{number}" for number in range(MAX_JOBS + 1)])["include"]
    assert jobs[0] == {"name": "e0 and 1 more", "experiments": "e0 e1"}
    assert jobs[1] == {"name": "e2", "experiments": "e2"}


def test_names_that_azure_pipelines_would_take_for_one_job_stay_apart() -> None:
    jobs = build_matrix("azure-pipelines", ["a-b", "a.b", "1"])
    assert list(jobs) == ["job_a_b", "job_a_b_2", "job_1"]


def test_nothing_affected_is_an_empty_matrix() -> None:
    assert build_matrix("github", []) == {"include": []}
    assert build_matrix("azure-pipelines", []) == {}
