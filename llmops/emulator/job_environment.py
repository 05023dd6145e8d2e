"""What a command job finds on its compute: who it is, where tokens come from, how it reaches Azure.

Source: `azure.identity._credentials.azure_ml`, `azure.identity._credentials.imds` and
`azure.ai.ml.identity._credentials.aml_on_behalf_of`, which ask for the tokens of a job.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi

from llmops.emulator.errors import RefusalError
from llmops.emulator.tokens import CLIENT, TENANT, TokenService
from llmops.emulator.wire import Request

_HERE = "127.0.0.1,localhost"
COMPUTE = "00000000-0000-0000-0000-000000000003"
"""Client id of the managed identity of every compute."""


@dataclass(kw_only=True)
class JobEnvironment:
    """The variables of jobs, and the endpoint that these name.

    Attributes:
        url: of the emulator; empty until it listens.
        authority: certificate of the emulator's hosts.
        clean: what containers start with.
        folder: for the authorities that jobs trust.
    """

    tokens: TokenService
    authority: Path
    clean: Mapping[str, str]
    folder: Path
    url: str = ""
    _secret: str = field(default_factory=lambda: secrets.token_hex(16))
    _authorities: Path = field(init=False)

    def __post_init__(self) -> None:
        self._authorities = self._write_authorities()

    def variables(self, identity: Mapping[str, Any] | None) -> dict[str, str]:
        """Build the variables of one job.

        Args:
            identity: as the job was submitted with; without one it has no tokens.
        """
        return {**self._identity(identity or {}), **self._network()}

    def may_leave(self, authorization: str) -> bool:
        """Tell whether a request to the proxy is that of a job, which reaches other hosts as this machine does."""
        ours = b"Basic " + base64.b64encode(self._account.encode())
        return hmac.compare_digest(authorization.encode(), ours)

    @property
    def _account(self) -> str:
        return f"job:{self._secret}"

    def _identity(self, identity: Mapping[str, Any]) -> dict[str, str]:
        kind = str(identity.get("identityType", "AMLToken")).lower()
        if kind == "managed":
            client = str(identity.get("clientId") or COMPUTE)
            place = f"{self.url}/identity/compute"
            return {"MSI_ENDPOINT": place, "MSI_SECRET": self._secret, "DEFAULT_IDENTITY_CLIENT_ID": client}
        if kind == "useridentity":
            return {"AZUREML_OBO_ENABLED": "True", "OBO_ENDPOINT": f"{self.url}/identity/submitter"}
        # Whoever asks the metadata service of the machine all the same is answered here and not by the network.
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.url}

    def _network(self) -> dict[str, str]:
        given = self.clean.get("no_proxy") or self.clean.get("NO_PROXY") or ""
        proxies = {
            "HTTPS_PROXY": self.url.replace("://", f"://{self._account}@"),
            "NO_PROXY": ",".join(filter(None, [_HERE, given])),
        }
        trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(self._authorities))
        return {**trust, **proxies, **{name.lower(): value for name, value in proxies.items()}}

    def _write_authorities(self) -> Path:
        """Write the emulator's authority beside those that this machine trusts, in place of one of a start before."""
        path = self.folder / "authorities-of-jobs.pem"
        given = [self.clean[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if name in self.clean]
        known = given or [ssl.get_default_verify_paths().cafile or certifi.where()]
        path.write_bytes(b"\n".join(Path(one).read_bytes() for one in (*dict.fromkeys(known), str(self.authority))))
        return path

    def answer(self, request: Request) -> dict[str, Any]:
        """Give a job a token.

        Raises:
            RefusalError: 401 for a wrong secret, 404 for an unknown address.
        """
        who = request.path.rpartition("/")[2]
        if who == "compute" and not hmac.compare_digest(
            request.headers.get("secret", "").encode(), self._secret.encode()
        ):
            raise RefusalError(401, "Unauthorized", "The secret is not that of this compute.")
        if who not in {"compute", "submitter"}:
            raise RefusalError(404, "NotFound", f"No such identity: {who}")
        audience = request.query.get("resource", "").removesuffix(".default").rstrip("/")
        client = request.query.get("clientid", COMPUTE) if who == "compute" else CLIENT
        return {
            "access_token": self.tokens.issue(audience=audience, tenant=TENANT, client=client),
            "expires_on": str(int(time.time() + self.tokens.lifetime_s)),
            "resource": audience,
            "token_type": "Bearer",
            "client_id": client,
        }
