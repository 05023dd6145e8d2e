"""What a plain Python flow refers to of connections, put into its variables by Azure when a container starts.

Source: the page how-to-deploy-online-endpoint-with-secret-injection. Prompt flow's runtime does it by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmops.backends.azure.models import WorkspaceModels
from llmops.flows.model import CONNECTION_VALUE

_PLACES: Mapping[str, str] = {
    "api_key": "credentials/key",
    "base_url": "target",
    "api_base": "target",
    "api_type": "metadata/ApiType",
    "api_version": "metadata/ApiVersion",
    "organization": "metadata/Organization",
}
"""Key of a connection to a model, to where a workspace keeps it."""


def with_injection(
    variables: Mapping[str, str], connections: Collection[str], models: WorkspaceModels
) -> dict[str, str]:
    """Write `${connection.key}`, where it is a whole value, as Azure's containers understand it.

    Args:
        variables: of the flow.
        connections: names of those that it uses.
        models: tells which connections have keys of their own.
    """

    def translate(value: str) -> str:
        match = CONNECTION_VALUE.match(value)
        if match is None or match["name"] not in connections:
            return value
        name, key = match["name"], match["key"]
        own = f"metadata/{key}" if key in models.metadata(name) else f"credentials/{key}"
        place = own if models.is_custom(name) else _PLACES.get(key, own)
        return f"${{{{azureml://connections/{name}/{place}}}}}"

    return {name: translate(value) for name, value in variables.items()}
