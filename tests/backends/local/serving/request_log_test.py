from __future__ import annotations

from pathlib import Path

from llmops.backends.local.serving.request_log import LoggedRequest, RequestKind, append, measure, tail
from llmops.core.endpoint import Window


def logged(at: float, *, status: int = 200, duration_s: float = 0.1, kind: RequestKind = "live") -> LoggedRequest:
    return LoggedRequest(at, f"r{at}", "first", kind, status, duration_s)


def test_a_window_holds_live_requests_between_two_moments(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(1), logged(2), logged(2.5, kind="mirror"), logged(2.6, kind="addressed"), logged(3)])
    assert measure(path, start=2, end=3)["first"].requests == 1
    assert [one.ended_at for one in tail(path, count=2)] == [2.6, 3]


def test_server_errors_and_requests_given_up_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(1, status=status) for status in (200, 400, 429, 500, 504, 0)])
    assert measure(path, start=0, end=9)["first"].errors == 3


def test_a_flow_that_failed_is_an_error_whatever_the_status(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(1, status=400), logged(1, status=400)._replace(flow_failed=True)])
    assert measure(path, start=0, end=9)["first"].errors == 1


def test_percentiles_are_nearest_rank(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(1, duration_s=number / 10) for number in range(200, 0, -1)])
    assert measure(path, start=0, end=9) == {
        "first": Window(requests=200, errors=0, latency_s={50: 10.0, 95: 19.0, 99: 19.8})
    }


def test_there_is_nothing_to_measure_before_the_first_request(tmp_path: Path) -> None:
    assert measure(tmp_path / "none.sqlite", start=0, end=9) == {}
