"""Nothing that is finished is lost or run again: kills, crashes, hangs, broken caches."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.projects import TinyProject, findings, is_running, kill, make_project, wait_for


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path / "project")


def lines(project: TinyProject, run: str = "answer") -> list[dict[str, Any]]:
    (path,) = (project.root / ".llmops/runs").glob(f"{run}-*/lines.jsonl")
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_ended_half_way_runs_only_the_missing_lines_next_time(
    project: TinyProject, tmp_path: Path, sent: signal.Signals
) -> None:
    marks, flags = tmp_path / "marks", [tmp_path / f"flag{n}" for n in range(5)]
    project.rows(*(f"mark:{marks}:{n}" for n in range(5)), *(f"wait:{one}" for one in flags))
    process = project.start("check", "--concurrency", "5")
    wait_for(lambda: count_stored(project) == 10)  # five lines, and what the evaluator said of each
    kill(process, sent)
    for one in flags:
        one.touch()
    assert process.returncode == (-9 if sent == signal.SIGKILL else 130)
    assert project.run("runs", "list").code == 0
    assert project.check("--concurrency", "5")[0] == 0
    assert [path.read_text(encoding="utf-8") for path in tmp_path.glob("marks*")] == ["x"] * 5
    assert len(lines(project)) == 10


def count_stored(project: TinyProject) -> int:
    """Count the lines that are durable; before the driver has made its file and table there are none."""
    path = project.root / ".llmops/cache.sqlite"
    if not path.with_name("cache.sqlite-wal").exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'line'").fetchone()
        return int(db.execute("SELECT count(*) FROM line").fetchone()[0]) if tables else 0


def test_a_line_that_ends_the_worker_fails_alone(project: TinyProject) -> None:
    project.rows("exit:3", *(f"sleep:0.{n}" for n in range(1, 8)))
    code, verdict = project.check("--concurrency", "8")
    assert (code, verdict["candidate"]["failed"]) == (10, 1)
    assert findings(verdict)["max_failed max_failed"] == "fail"
    failed = [line["error"] for line in lines(project) if line["status"] == "failed"]
    assert [(error["type"], error["message"]) for error in failed] == [
        ("WorkerDied", "the worker process ended with exit code 3")
    ]


def test_a_worker_that_dies_once_costs_nothing_but_time(project: TinyProject, tmp_path: Path) -> None:
    project.rows(f"exit-once:{tmp_path / 'flag'}", *(f"row {n}" for n in range(6)))
    assert project.check()[0] == 0


@pytest.mark.slow
def test_a_line_that_hangs_fails_after_its_time_and_the_others_run_again(project: TinyProject) -> None:
    project.rows("sleep:600", *(f"sleep:0.{n}" for n in range(1, 6)))
    code, verdict = project.check("--line-timeout-s", "12", "--concurrency", "6")
    assert (code, verdict["candidate"]["failed"]) == (10, 1)
    failed = next(line["error"] for line in lines(project) if line["status"] == "failed")
    assert failed["message"] == "no answer within 12 s (line_timeout_s)"


@pytest.mark.slow
def test_a_line_that_freezes_its_process_fails_alone(project: TinyProject) -> None:
    """No other line of that process can be told from the guilty one, so each of them has another try, alone."""
    project.rows("freeze:600", *(f"sleep:0.{n}" for n in range(1, 6)))
    code, verdict = project.check("--line-timeout-s", "12", "--concurrency", "6")
    assert (code, verdict["candidate"]["failed"], verdict["candidate"]["scored"]) == (10, 1, 5)
    failed = next(line["error"] for line in lines(project) if line["status"] == "failed")
    assert failed["message"] == "no answer within 12 s (line_timeout_s)"


def test_a_line_that_needs_more_memory_than_there_is_fails_alone(project: TinyProject) -> None:
    project.rows(f"memory:{1 << 60}", "fine")
    code, verdict = project.check()
    assert (code, verdict["candidate"]["failed"], verdict["candidate"]["scored"]) == (10, 1, 1)
    assert {line["error"]["type"] for line in lines(project) if line["error"]} == {"MemoryError"}


def test_a_worker_that_the_system_kills_for_its_memory_fails_its_line_alone(project: TinyProject) -> None:
    project.rows("killed:now", *(f"row {n}" for n in range(5)))
    code, verdict = project.check()
    assert (code, verdict["candidate"]["failed"], verdict["candidate"]["scored"]) == (10, 1, 5)
    failed = next(line["error"] for line in lines(project) if line["status"] == "failed")
    assert failed["message"] == "the worker process was ended by SIGKILL (out of memory?)"


def test_a_process_that_a_dead_worker_left_behind_holds_up_nobody(project: TinyProject, tmp_path: Path) -> None:
    project.rows(f"fork-and-exit:{tmp_path / 'left'}", "fine")
    code, verdict = project.check()
    for left in tmp_path.glob("left-*"):
        os.kill(int(left.name.removeprefix("left-")), signal.SIGKILL)
    assert (code, verdict["candidate"]["failed"], verdict["candidate"]["scored"]) == (10, 1, 1)
    failed = next(line["error"] for line in lines(project) if line["status"] == "failed")
    assert failed["message"] == "the worker process ended with exit code 5"


def test_system_exit_in_a_flow_is_that_lines_failure(project: TinyProject) -> None:
    project.rows("system-exit:7", "fine")
    code, verdict = project.check()
    assert (code, verdict["candidate"]["failed"], verdict["candidate"]["scored"]) == (10, 1, 1)


def test_what_a_flow_prints_goes_to_its_log_and_not_into_the_protocol(project: TinyProject) -> None:
    project.rows('print:{"op": "line", "id": "0"}', "fine")
    assert project.check()[0] == 0
    (log,) = (project.root / ".llmops/logs").glob("answer-*.log")
    assert '{"op": "line", "id": "0"}' in log.read_text(encoding="utf-8")


def test_a_damaged_cache_is_moved_aside_and_kept(project: TinyProject) -> None:
    project.write(".llmops/cache.sqlite", "this is no database, and it is longer than a header would be" * 20)
    answer = project.run("check")
    assert answer.code == 0
    assert "The line cache was damaged; it was moved to" in answer.err
    (kept,) = (project.root / ".llmops").glob("cache.sqlite.damaged-*")
    assert kept.read_text(encoding="utf-8").startswith("this is no database")


def test_repeats_are_measurements_of_their_own(project: TinyProject, tmp_path: Path) -> None:
    project.rows(f"mark:{tmp_path / 'marks'}", "other")
    assert project.check("--repeat", "3")[0] == 0
    assert (tmp_path / "marks").read_text(encoding="utf-8") == "xxx"
    assert [(line["row"], line["repeat"]) for line in lines(project)] == [(r, k) for r in (0, 1) for k in (0, 1, 2)]


def test_equal_rows_are_run_once(project: TinyProject, tmp_path: Path) -> None:
    project.rows(*[f"mark:{tmp_path / 'marks'}"] * 6)
    assert project.check()[0] == 0
    assert (tmp_path / "marks").read_text(encoding="utf-8") == "x"
    assert len(lines(project)) == 6


def test_two_drivers_on_the_same_state_both_finish(project: TinyProject) -> None:
    project.rows(*(f"sleep:0.0{n}" for n in range(1, 10)))
    processes = [project.start("check") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(lines(project)) == 9


def test_a_second_driver_runs_no_line_again_that_the_first_has_finished(project: TinyProject, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    project.rows(*(f"mark:{marks}:{n}" for n in range(4)), f"wait:{tmp_path / 'flag'}", f"mark:{marks}:last")
    drivers = [project.start("check", "--concurrency", "1")]
    wait_for(lambda: len(list(tmp_path.glob("marks*"))) == 4)
    drivers.append(project.start("check", "--concurrency", "1"))
    wait_for(lambda: len(list((project.root / ".llmops/tmp").iterdir())) >= 4)
    (tmp_path / "flag").touch()
    outputs = [driver.communicate(timeout=120) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outputs
    assert {path.read_text(encoding="utf-8") for path in tmp_path.glob("marks:[0-3]")} == {"x"}


def test_a_segmentation_fault_fails_its_line_alone(project: TinyProject) -> None:
    project.rows("segfault:now", *(f"row {n}" for n in range(5)))
    code, verdict = project.check()
    assert (code, verdict["candidate"]["failed"], verdict["candidate"]["scored"]) == (10, 1, 5)
    failed = next(line["error"] for line in lines(project) if line["status"] == "failed")
    assert failed["message"] == "the worker process was ended by SIGSEGV"


def test_a_flow_that_changes_directory_or_closes_its_output_harms_nobody(project: TinyProject, tmp_path: Path) -> None:
    project.rows(f"chdir:{tmp_path}", "close:", "fine", *(f"sleep:0.{n}" for n in range(1, 4)))
    assert project.check("--concurrency", "2")[0] == 0


def test_what_a_flow_starts_ends_with_its_worker(project: TinyProject, tmp_path: Path) -> None:
    project.rows(f"child:{tmp_path / 'pid'}")
    assert project.check()[0] == 0
    child = int((tmp_path / "pid").read_text(encoding="utf-8"))
    wait_for(lambda: not is_running(child))


def test_a_full_disk_is_said_and_costs_no_finished_line(project: TinyProject, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    long = {f"long:{length}": "x" * length for length in range(60_000, 60_040)}
    project.rows(*(f"mark:{marks}:{n}" for n in range(3)), *long, expected=long)
    command = f"ulimit -f 400; exec {sys.executable} -m llmops check --concurrency 1"
    limited = subprocess.run(["bash", "-c", command], cwd=project.root, capture_output=True, text=True, check=False)
    assert limited.returncode == 2, limited.stderr
    assert "Traceback" not in limited.stderr
    assert project.check("--concurrency", "1")[0] == 0
    assert [path.read_text(encoding="utf-8") for path in tmp_path.glob("marks*")] == ["x"] * 3


def test_a_cache_that_another_program_holds_locked_is_waited_for(project: TinyProject) -> None:
    assert project.check()[0] == 0
    project.rows("one more")
    with contextlib.closing(sqlite3.connect(project.root / ".llmops/cache.sqlite", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        process = project.start("check")
        time.sleep(3)
        assert process.poll() is None
        db.execute("COMMIT")
    process.communicate(timeout=120)
    assert process.returncode == 0
