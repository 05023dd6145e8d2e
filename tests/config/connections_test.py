from __future__ import annotations

import json
import pickle

import pytest

from llmops.config.connections import AZURE_API_VERSION, Secret, identity, resolve_connection, resolve_connections
from llmops.config.model import Connection
from llmops.errors import UsageError

OPEN_AI = Connection(type="open_ai")
AZURE = Connection(type="azure_open_ai")


def refusal(connection: Connection, env: dict[str, str]) -> str:
    with pytest.raises(UsageError) as caught:
        resolve_connection(connection, "model", env)
    return str(caught.value)


def test_open_ai_takes_key_and_address_from_its_usual_variables() -> None:
    env = {"OPENAI_API_KEY": "hunter2", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    resolved = resolve_connection(OPEN_AI, "model", env)
    assert resolved.api_key == Secret("hunter2")
    assert resolved.base_url == "http://127.0.0.1:1/v1"


def test_open_ai_address_is_left_to_the_client_when_nothing_names_one() -> None:
    assert resolve_connection(OPEN_AI, "model", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": ""}).base_url is None


def test_azure_takes_key_address_and_version_from_its_variables() -> None:
    env = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_API_VERSION": "2023-05-15"}
    resolved = resolve_connection(AZURE, "model", env)
    assert (resolved.api_base, resolved.api_version) == ("https://x", "2023-05-15")


def test_azure_has_a_default_version() -> None:
    env = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://x"}
    assert resolve_connection(AZURE, "model", env).api_version == AZURE_API_VERSION == "2024-10-21"


def test_reference_is_expanded_inside_of_a_value() -> None:
    connection = Connection(type="serverless", api_key="${env:KEY}", api_base="https://${env:HOST}/v1")
    assert resolve_connection(connection, "model", {"KEY": "k", "HOST": "h"}).api_base == "https://h/v1"


def test_missing_variable_names_connection_field_and_variable() -> None:
    assert refusal(OPEN_AI, {}) == (
        "connections.model.api_key: the environment variable OPENAI_API_KEY is not set\n"
        "  Set OPENAI_API_KEY, or choose an environment whose connections do not need it."
    )


def test_empty_variable_is_no_variable() -> None:
    connection = Connection(type="open_ai", api_key="${env:KEY}")
    assert refusal(connection, {"KEY": ""}).startswith(
        "connections.model.api_key: the environment variable KEY is empty\n"
    )


def test_serverless_without_address_says_which_key_is_missing() -> None:
    assert refusal(Connection(type="serverless", api_key="${env:KEY}"), {"KEY": "k"}) == (
        "connections.model.api_base: missing key 'api_base'\n  expected a value or ${env:NAME}"
    )


def test_literal_secret_is_refused_without_showing_it() -> None:
    message = refusal(Connection(type="custom", secrets={"token": "hunter2"}), {})
    assert message.startswith("connections.model.secrets.token: a secret in a file\n")
    assert "hunter2" not in message


def test_malformed_reference_is_refused() -> None:
    assert refusal(Connection(type="custom", configs={"a": "${ENV:x}"}), {}) == (
        "connections.model.configs.a: malformed reference\n  expected ${env:NAME}"
    )


def test_problems_of_all_connections_come_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_connections({"a": OPEN_AI, "b": AZURE}, {"AZURE_OPENAI_ENDPOINT": "https://x"})
    assert [problem.where for problem in caught.value.problems] == ["connections.a.api_key", "connections.b.api_key"]


def test_secret_shows_itself_in_no_text() -> None:
    resolved = resolve_connection(OPEN_AI, "model", {"OPENAI_API_KEY": "hunter2"})
    assert resolved.api_key is not None
    assert "hunter2" not in f"{resolved!r} {resolved} {resolved.api_key} {resolved.api_key!r} {resolved.api_key!s:>9}"
    assert resolved.api_key.reveal() == "hunter2"


def test_secret_is_neither_json_nor_pickle() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(Secret("hunter2"))
    with pytest.raises(TypeError, match="a secret is not pickled"):
        pickle.dumps(Secret("hunter2"))


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (Connection(type="stand_in"), "stand_in"),
        (OPEN_AI, "open_ai"),
        (Connection(type="open_ai", base_url="https://me:pw@Host/v1/?key=x", organization="org"), "open_ai https://Host/v1 organization=org"),
        (Connection(type="azure_open_ai", api_base="https://x/"), "azure_open_ai https://x api-version=2024-10-21"),
        (Connection(type="serverless", api_key="${env:K}", api_base="https://y"), "serverless https://y"),
    ],
)  # fmt: skip
def test_identity_names_what_answers_and_no_secret(connection: Connection, expected: str) -> None:
    env = {"OPENAI_API_KEY": "hunter2", "AZURE_OPENAI_API_KEY": "hunter2", "K": "hunter2"}
    assert identity(resolve_connection(connection, "model", env)) == expected


def test_identity_of_a_custom_connection_follows_its_configs_and_not_its_secrets() -> None:
    def of(config: str, secret: str) -> str:
        connection = Connection(type="custom", configs={"a": config}, secrets={"b": "${env:S}"})
        return identity(resolve_connection(connection, "model", {"S": secret}))

    assert of("1", "x") == of("1", "y") != of("2", "x")
