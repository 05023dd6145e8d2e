"""Keep the SDKs from sending telemetry, from asking for newer versions of themselves, and from talking in between."""

from __future__ import annotations

import datetime as dt
import json
import logging
from pathlib import Path

_TALKATIVE = ("azure.ai.ml._utils._experimental", "azure.identity._credentials.chained", "promptflow")


def hush() -> None:
    """Keep the SDKs' remarks about themselves out of what commands write; their errors are raised anyway.

    Filters, because prompt flow sets the level of its logger when it is imported.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def quiet(home: Path) -> dict[str, str]:
    """Build the variables that switch the SDKs' telemetry off; they are read when the SDKs are imported.

    Args:
        home: of prompt flow; the files in it that switch off its telemetry and its search for newer versions are
            written here.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "pf.yaml").write_text("telemetry:\n  enabled: false\ntrace:\n  destination: none\n", encoding="utf-8")
    now = dt.datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ005 prompt flow reads it without a zone
    versions = {"versions": {}, "last_check_time": now, "last_hint_time": now}
    (home / "pf_version_check.json").write_text(json.dumps(versions), encoding="utf-8")
    return {
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "PF_HOME_DIRECTORY": str(home),
    }
