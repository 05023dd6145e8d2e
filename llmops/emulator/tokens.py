"""The token service: Microsoft Entra ID as far as `azure-identity` asks, and the check of what it issued."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from typing import Any

from llmops.emulator.errors import RefusalError
from llmops.emulator.wire import Request, Response, json_response

ANY_TENANT = "common"
TENANT = "00000000-0000-0000-0000-000000000001"
CLIENT = "00000000-0000-0000-0000-000000000002"
"""Of the identity that commands run as."""
_SKEW_S = 60
WRONG_SECRET = "wrong"  # noqa: S105  # the one secret that is refused, so that refusals can be tried


@dataclass(kw_only=True)
class TokenService:
    """Issues bearer tokens to whoever asks and knows its own again.

    Attributes:
        lifetime_s: of the tokens issued from now on.
    """

    lifetime_s: float = 3600.0
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def issue(self, *, audience: str, tenant: str, client: str) -> str:
        """Make a token.

        Args:
            tenant: of the issuer.
            client: for whom.
            audience: the resource without a trailing slash; prompt flow compares it literally.
        """
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant}/",
            "iat": now - _SKEW_S,
            "nbf": now - _SKEW_S,
            "exp": now + int(self.lifetime_s),
            "oid": principal_of(client),
            "appid": client,
            "tid": tenant,
            "sub": principal_of(client),
            "upn": f"{client}@emulator.invalid",
            "ver": "1.0",
        }
        head = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
        return f"{head}.{self._sign(head)}"

    def claims(self, header: str, audiences: tuple[str, ...]) -> dict[str, Any]:
        """Check an `Authorization` header and return what the token claims.

        Raises:
            RefusalError: 401; the codes are those of Azure Resource Manager.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RefusalError(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        head, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(head), signature):
            raise RefusalError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        claims = decode(token)
        if claims["exp"] < time.time():
            raise RefusalError(401, "ExpiredAuthenticationToken", "The access token expiry is not in the future.")
        if claims["aud"] not in audiences:
            raise RefusalError(
                401,
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{claims['aud']}'.",
            )
        return claims

    def _sign(self, text: str) -> str:
        return _base64(hmac.new(self._key, text.encode("utf-8"), hashlib.sha256).digest())

    def answer(self, request: Request) -> Response:
        """Answer discovery and token requests of any tenant."""
        parts = request.path.strip("/").split("/")
        if parts[1:] == ["discovery", "instance"]:
            return json_response(_instance(request.host))
        if parts[-1] == "openid-configuration":
            return json_response(_openid(request.host, parts[0]))
        if parts[1:] == ["oauth2", "v2.0", "token"] and request.method == "POST":
            return self._token(parts[0], dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace"))))
        raise RefusalError(404, "NotFound", f"No such address: {request.path}")

    def _token(self, tenant: str, form: dict[str, str]) -> Response:
        if form.get("client_secret") == WRONG_SECRET:
            return _no_token("invalid_client", "AADSTS7000215: Invalid client secret provided.")
        assertion = form.get("client_assertion")
        if assertion is not None and _is_expired(assertion):
            return _no_token("invalid_client", "AADSTS700024: Client assertion is not within its valid time range.")
        audience = form.get("scope", "").split(" ")[0].removesuffix(".default").rstrip("/")
        client = form.get("client_id", "unknown")
        return json_response(
            {
                "token_type": "Bearer",
                "expires_in": int(self.lifetime_s),
                "ext_expires_in": int(self.lifetime_s),
                "access_token": self.issue(audience=audience, tenant=tenant, client=client),
            }
        )


def principal_of(client: str) -> str:
    """Name the object id of a client."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{client}.principal"))


def decode(token: str) -> dict[str, Any]:
    """Read what a JSON web token claims, without checking it; empty when it is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _is_expired(assertion: str) -> bool:
    return float(decode(assertion).get("exp", time.time() + 1)) < time.time()


def _no_token(error: str, description: str) -> Response:
    return json_response({"error": error, "error_description": description}, 401)


def _instance(host: str) -> dict[str, Any]:
    return {
        "tenant_discovery_endpoint": f"https://{host}/{ANY_TENANT}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [],
    }


def _openid(host: str, tenant: str) -> dict[str, Any]:
    base = f"https://{host}/{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "issuer": f"{base}/v2.0",
    }


def _encode(value: Any) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode("utf-8"))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
