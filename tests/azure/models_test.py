"""Flows with models: what runs and serves on Azure reaches them through the connections of the workspace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import requests as http
from azure.identity import DefaultAzureCredential
from promptflow.azure import PFClient

from llmops.engine.standin.process import StandInProcess
from tests.azure.conftest import GROUP, SUBSCRIPTION, deployment, make_endpoint, set_traffic, submit, unique, wait

FLOW = "flows/web-classification"
CATEGORIES = {"Movie", "App", "Academic", "Channel", "Profile", "PDF", "None"}


@pytest.fixture
def pf(credential: DefaultAzureCredential, settings: Callable[..., None], stand_in: StandInProcess) -> PFClient:
    """A client of a workspace that has the example's connection."""
    connection = {"type": "open_ai", "configs": {"base_url": stand_in.base_url}, "secrets": {"api_key": "key-of-model"}}
    settings(connections={"open_ai_connection": connection})
    return PFClient(credential, SUBSCRIPTION, GROUP, unique("workspace"))


def test_a_run_reaches_the_model_of_the_workspaces_connection(
    pf: PFClient, stand_in: StandInProcess, root: Path
) -> None:
    stand_in.reset_stats()
    mapping = {"url": "${data.url}"}
    rows = root / "data" / "web-classification" / "smoke.jsonl"
    run = wait(pf, submit(pf, flow=str(root / FLOW), data=str(rows), column_mapping=mapping).name)
    assert (run.status, run._error) == ("Completed", None)
    details = pf.runs.get_details(run.name)
    assert set(details["outputs.category"]) <= CATEGORIES
    assert stand_in.stats().calls == 2 * len(details)
    assert "key-of-model" not in pf.runs._get_log(run.name)


def test_a_node_can_be_given_another_connection(pf: PFClient, root: Path) -> None:
    rows = root / "data" / "web-classification" / "smoke.jsonl"
    override = {"classify_with_llm": {"connection": "nobody"}}
    run = submit(pf, flow=str(root / FLOW), data=str(rows), column_mapping={"url": "${data.url}"}, connections=override)
    found = wait(pf, run.name)
    assert found.status == "Failed"
    assert "nobody" in found._error["error"]["message"]


def test_a_deployment_reaches_it_too(pf: PFClient, root: Path) -> None:
    from azure.ai.ml.entities import Model

    ml = pf.ml_client
    ml.models.create_or_update(Model(name="classifier", path=str(root / FLOW), type="custom_model"))
    name = make_endpoint(ml)
    ml.online_deployments.begin_create_or_update(deployment(name, model="azureml:classifier:1")).result()
    set_traffic(ml, name, blue=100)
    headers = {"Authorization": f"Bearer {ml.online_endpoints.get_keys(name).primary_key}"}
    uri = ml.online_endpoints.get(name).scoring_uri
    page = {"url": "https://sala-grande.example/scheda/notte-a-trieste"}
    answer = http.post(uri, json=page, headers=headers, verify=os.environ["SSL_CERT_FILE"], timeout=60)
    assert (answer.status_code, answer.json()["category"] in CATEGORIES) == (200, True)
    ml.online_endpoints.begin_delete(name).result()
