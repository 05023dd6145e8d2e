"""Command jobs: `azure-ai-ml` against an emulator that really runs their commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.entities import Data, Environment, Job
from azure.core.exceptions import HttpResponseError

from tests.azure.conftest import unique

SCRIPT = """\
import os, pathlib, sys
rows = pathlib.Path(sys.argv[1]).read_text().splitlines()
print("rows:", len(rows), "of", os.environ["WHOSE"])
pathlib.Path(sys.argv[2], "count.txt").write_text(str(len(rows)))
"""


def job(folder: Path, name: str, line: str = "python count.py ${{inputs.rows}} ${{outputs.out}}", **more: Any) -> Job:
    """Describe a job whose code is a folder."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "count.py").write_text(SCRIPT)
    return command(
        name=name,
        code=str(code),
        command=line,
        environment=Environment(image="mcr.microsoft.com/azureml/minimal:1"),
        environment_variables={"WHOSE": "mine"},
        instance_type="Standard_DS3_v2",
        **more,
    )


def ended(ml: MLClient, name: str, *statuses: str) -> str:
    """Wait until a job has ended, or has one of the statuses."""
    wanted = statuses or ("Completed", "Failed", "Canceled")
    deadline = time.monotonic() + 60
    while (status := str(ml.jobs.get(name).status)) not in wanted:
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_a_job_reads_its_inputs_and_its_outputs_are_kept(
    ml: MLClient, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ml.data.create_or_update(Data(name="rows", version="1", path=str(rows), type="uri_file"))
    kept = "azureml://datastores/workspaceblobstore/paths/kept/"
    described = job(
        tmp_path,
        name := unique("job"),
        inputs={"rows": Input(type="uri_file", path="azureml:rows:1")},
        outputs={"out": Output(type="uri_folder", path=kept)},
    )
    ml.jobs.create_or_update(described)
    ml.jobs.stream(name)
    assert "rows: 3 of mine" in capfd.readouterr().out
    again = job(tmp_path, other := unique("job"), 'test "$(cat ${{inputs.count}})" = 3',
                inputs={"count": Input(type="uri_file", path=f"{kept}count.txt")})  # fmt: skip
    ml.jobs.create_or_update(again)
    assert ended(ml, other) == "Completed"


def test_a_command_that_fails_fails_its_job(ml: MLClient, tmp_path: Path) -> None:
    ml.jobs.create_or_update(job(tmp_path, name := unique("job"), "exit 3"))
    assert ended(ml, name) == "Failed"


def test_a_job_is_canceled_and_its_command_is_ended(ml: MLClient, tmp_path: Path) -> None:
    ml.jobs.create_or_update(job(tmp_path, name := unique("job"), f"sleep 60; touch {tmp_path}/late"))
    ended(ml, name, "Running")
    ml.jobs.begin_cancel(name).wait(10)
    assert ended(ml, name) == "Canceled"
    assert not (tmp_path / "late").exists()


def test_a_job_that_exists_keeps_its_command(ml: MLClient, tmp_path: Path) -> None:
    ml.jobs.create_or_update(job(tmp_path, name := unique("job"), "true"))
    with pytest.raises(HttpResponseError, match="its command cannot be changed"):
        ml.jobs.create_or_update(job(tmp_path, name, "false"))
    assert ended(ml, name) == "Completed"


def test_a_job_gets_none_of_the_variables_of_the_person_at_the_keyboard(ml: MLClient, tmp_path: Path) -> None:
    line = 'test -z "$AZURE_CLIENT_SECRET" && test "$AZUREML_RUN_ID" = "$WANTED"'
    name = unique("job")
    described = job(tmp_path, name, line)
    described.environment_variables["WANTED"] = name
    ml.jobs.create_or_update(described)
    assert ended(ml, name) == "Completed"


def test_a_job_whose_compute_never_comes_fails(ml: MLClient, tmp_path: Path, inject: Callable[..., None]) -> None:
    inject(effect="fail_operation", path="/jobs/")
    ml.jobs.create_or_update(job(tmp_path, name := unique("job"), "true"))
    assert ended(ml, name) == "Failed"
