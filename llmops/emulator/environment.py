"""The variables that point the SDKs of a process to the emulator and keep them from reaching anything else."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from llmops.emulator.cloud import TENANT

CLIENT = "00000000-0000-0000-0000-000000000002"


def environment(*, url: str, authority: Path, home: Path) -> dict[str, str]:
    """Build the variables of a process.

    Args:
        url: of the emulator.
        authority: certificate to trust; the only one, so that nothing else can be reached.
        home: see `quiet`.
    """
    proxies = {name: url for form in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY") for name in (form, form.lower())}
    trust = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
    return {
        **proxies,
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        **dict.fromkeys(trust, str(authority)),
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": "any",
        "LLMOPS_EMULATOR": url,
        **quiet(home),
    }


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
