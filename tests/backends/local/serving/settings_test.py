from __future__ import annotations

import pytest

from llmops.backends.local.serving.settings import ServingSettings, read_settings
from llmops.errors import UsageError


def test_settings_left_out_have_defaults() -> None:
    assert read_settings({}, "x") == ServingSettings()
    assert read_settings({"request_timeout_s": 5}, "x").request_timeout_s == 5


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_settings({"max_concurrent_request": 1, "max_queued_requests": True, "request_timeout_s": 0}, "env 'dev'")
    assert str(caught.value).splitlines() == [
        "env 'dev': settings.max_concurrent_request: no such setting",
        "  expected 'max_concurrent_requests', 'max_queued_requests', 'request_timeout_s', 'python'",
        "  did you mean 'max_concurrent_requests'?",
        "env 'dev': settings.max_queued_requests: wrong value",
        "  found True",
        "  expected a whole number, at least 0",
        "env 'dev': settings.request_timeout_s: wrong value",
        "  found 0",
        "  expected a number, at least 0.001",
    ]
