"""Who we are on Azure: a chain of identities, in the order that the configuration gives, with no stored secret.

Each source gives a fresh token for as long as the command runs: on GitHub and Azure Pipelines every token is asked for
with a new assertion, because one assertion lives for minutes and a run for hours.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops.backends.azure.settings import AzureSettings
from llmops.config.model import AzureIdentity
from llmops.errors import UsageError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_ASSERTION_TIMEOUT_S = 30.0
_ATTEMPTS = 3
_MANAGED = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "IMDS_ENDPOINT")
_FIRST_CODE_TO_REPEAT = 429


class _Source(NamedTuple):
    """One kind of identity.

    Attributes:
        needs: what must be there, each a setting or a variable of the machine.
        build: makes the credential from the settings, the variables and the keywords that every credential takes.
    """

    needs: tuple[str, ...]
    build: Callable[[AzureSettings, Mapping[str, str], Mapping[str, Any]], TokenCredential]


def build_credential(settings: AzureSettings, env: Mapping[str, str]) -> TokenCredential:
    """Build the chain of identities.

    Args:
        settings: name the identities and their order; without an order, those that this machine has, the command line
            of Azure last.
        env: environment variables.

    Raises:
        UsageError: an identity was named that this machine does not have.
    """
    from azure.identity import ChainedTokenCredential

    kinds = kinds_of(settings, env)
    for kind in settings.credentials:
        if missing := missing_of(kind, settings, env):
            raise UsageError.of(
                f"the identity '{kind}' is not there",
                where="azure.credentials",
                found=f"no {', '.join(missing)}",
                fix=_FIXES.get(kind, ""),
            )
    keywords: dict[str, Any] = {"authority": settings.cloud.authority}
    if settings.cloud.is_own:
        keywords["disable_instance_discovery"] = True
    return ChainedTokenCredential(*(_SOURCES[kind].build(settings, env, keywords) for kind in kinds))


def kinds_of(settings: AzureSettings, env: Mapping[str, str]) -> Sequence[AzureIdentity]:
    """List the identities in the order in which they are tried."""
    return settings.credentials or [kind for kind in _SOURCES if not missing_of(kind, settings, env)]


def missing_of(kind: AzureIdentity, settings: AzureSettings, env: Mapping[str, str]) -> list[str]:
    """Name what an identity lacks on this machine; empty when it can be tried."""
    if kind == "managed_identity":
        there = settings.credentials or any(env.get(name) for name in _MANAGED)
        return [] if there else [" or ".join(_MANAGED)]
    return [name for name in _SOURCES[kind].needs if not (getattr(settings, name, "") or env.get(name))]


def principal_in(token: str) -> str:
    """Name whom a JSON web token was issued to, tenant first; the token is not checked.

    Source of the claims: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
    """
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"{claims.get('tid', '')}/{claims.get('oid', '')}"


def fetch_github_assertion(env: Mapping[str, str], audience: str) -> str:
    """Ask GitHub for a new assertion of who this job is.

    Source: https://docs.github.com/actions/security-for-github-actions/security-hardening-your-deployments

    Raises:
        azure.core.exceptions.ClientAuthenticationError: GitHub gives none.
    """
    from azure.core.exceptions import ClientAuthenticationError

    url = f"{env['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={urllib.parse.quote(audience, safe='')}"
    headers = {"Authorization": f"Bearer {env['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}", "Accept": "application/json"}
    problem = ""
    for _ in range(_ATTEMPTS):
        try:
            request = urllib.request.Request(url, headers=headers)
            with urllib.request.urlopen(request, timeout=_ASSERTION_TIMEOUT_S) as answer:
                return str(json.load(answer)["value"])
        except urllib.error.HTTPError as error:
            problem = f"status {error.code}"
            if error.code < _FIRST_CODE_TO_REPEAT:
                break
        except (OSError, ValueError, KeyError) as error:
            problem = f"{type(error).__name__}: {error}"
    raise ClientAuthenticationError(message=f"GitHub gave no assertion for this job: {problem}")


def _environment(settings: AzureSettings, env: Mapping[str, str], keywords: Mapping[str, Any]) -> TokenCredential:
    from azure.identity import ClientSecretCredential

    secret = env["AZURE_CLIENT_SECRET"]
    return ClientSecretCredential(settings.tenant_id, settings.client_id, secret, **keywords)


def _github(settings: AzureSettings, env: Mapping[str, str], keywords: Mapping[str, Any]) -> TokenCredential:
    from azure.identity import ClientAssertionCredential

    audience = settings.cloud.exchange_audience
    return ClientAssertionCredential(
        settings.tenant_id, settings.client_id, lambda: fetch_github_assertion(env, audience), **keywords
    )


def _azure_pipelines(settings: AzureSettings, env: Mapping[str, str], keywords: Mapping[str, Any]) -> TokenCredential:
    from azure.identity import AzurePipelinesCredential

    return AzurePipelinesCredential(
        tenant_id=settings.tenant_id,
        client_id=settings.client_id,
        service_connection_id=settings.service_connection_id,
        system_access_token=env["SYSTEM_ACCESSTOKEN"],
        **keywords,
    )


def _workload(settings: AzureSettings, env: Mapping[str, str], keywords: Mapping[str, Any]) -> TokenCredential:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(
        tenant_id=settings.tenant_id,
        client_id=settings.client_id,
        token_file_path=env["AZURE_FEDERATED_TOKEN_FILE"],
        **keywords,
    )


def _managed(settings: AzureSettings, env: Mapping[str, str], keywords: Mapping[str, Any]) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    del env, keywords  # the machine's own service gives the token
    return ManagedIdentityCredential(client_id=settings.client_id or None)


def _cli(settings: AzureSettings, env: Mapping[str, str], keywords: Mapping[str, Any]) -> TokenCredential:
    from azure.identity import AzureCliCredential

    del env, keywords  # `az cloud set` decides which Azure
    return AzureCliCredential(tenant_id=settings.tenant_id or "")


_NAMED = ("tenant_id", "client_id")
_SOURCES: Mapping[AzureIdentity, _Source] = {
    "environment": _Source((*_NAMED, "AZURE_CLIENT_SECRET"), _environment),
    "github": _Source((*_NAMED, "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"), _github),
    "azure_pipelines": _Source(
        (*_NAMED, "service_connection_id", "SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI"), _azure_pipelines
    ),
    "workload": _Source((*_NAMED, "AZURE_FEDERATED_TOKEN_FILE"), _workload),
    "managed_identity": _Source((), _managed),
    "cli": _Source((), _cli),
}
"""The order that holds when the configuration gives none."""

_FIXES: Mapping[str, str] = {
    "github": "Give the job `permissions: id-token: write` and set AZURE_CLIENT_ID and AZURE_TENANT_ID.",
    "azure_pipelines": "Map SYSTEM_ACCESSTOKEN: $(System.AccessToken) into the step's `env`.",
    "environment": "Set AZURE_CLIENT_SECRET, or use a federated identity, which needs no secret.",
}
