"""The variables that point the SDKs of a process to the emulator and keep them from reaching anything else."""

from __future__ import annotations

from pathlib import Path

from llmops.backends.azure.quiet import quiet
from llmops.emulator.tokens import CLIENT, TENANT


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
