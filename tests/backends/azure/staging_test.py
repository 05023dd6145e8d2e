"""What overlays a flow where it is judged is in the files that Azure serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llmops.backends.azure.staging import stage
from llmops.errors import UsageError
from llmops.records import read_record
from llmops.releases import Manifest
from tests.backends.packages import echo_flow, greeter_flow, llm_flow, package


def staged_definition(tmp_path: Path, flow: Path, **overlay: Any) -> tuple[str, dict[str, Any]]:
    """Stage a flow; return where its definition is, and the definition."""
    manifest = package(flow, tmp_path / "package", **overlay)
    stage(tmp_path / "package", manifest, tmp_path / "model")
    described = yaml.safe_load((tmp_path / "model/MLmodel").read_text(encoding="utf-8"))
    entry = described["flavors"]["promptflow"]["entry"]
    return entry, yaml.safe_load((tmp_path / "model" / entry).read_text(encoding="utf-8"))


def test_nodes_and_variants_are_in_the_definition_that_is_served(tmp_path: Path) -> None:
    nodes = {"summarise": {"connection": "other", "model": "better"}}
    entry, definition = staged_definition(tmp_path, llm_flow(tmp_path), nodes=nodes, variants={"summarise": "long"})
    assert entry == "served/flow/flows/summary/flow.dag.yaml"
    choices = definition["node_variants"]["summarise"]
    assert choices["default_variant_id"] == "long"
    body = choices["variants"]["long"]["node"]
    assert (body["connection"], body["inputs"]["model"]) == ("other", "better")
    assert choices["variants"]["short"]["node"]["connection"] == "model"


def test_a_flow_that_nothing_overlays_is_served_from_its_package(tmp_path: Path) -> None:
    entry, _ = staged_definition(tmp_path, echo_flow(tmp_path))
    assert entry == "package/flow/flows/echo/flow.dag.yaml"


def test_the_package_itself_stays_byte_for_byte(tmp_path: Path) -> None:
    staged_definition(tmp_path, llm_flow(tmp_path), nodes={"summarise": {"connection": "other"}})
    for name in read_record(tmp_path / "package/manifest.json", Manifest).files:
        assert (tmp_path / "model/package" / name).read_bytes() == (tmp_path / "package" / name).read_bytes()


def test_a_node_that_the_flow_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the flow has no node 'nobody'"):
        staged_definition(tmp_path, echo_flow(tmp_path), nodes={"nobody": {"connection": "other"}})


def test_arguments_of_a_class_reach_a_plain_callable_and_are_refused_where_they_cannot(tmp_path: Path) -> None:
    manifest = package(
        greeter_flow(tmp_path), tmp_path / "package", source="flows/greeter/main.py:Greeter", init={"greeting": "Hi"}
    )
    stage(tmp_path / "package", manifest, tmp_path / "model")
    flex = package(echo_flow(tmp_path), tmp_path / "flex", init={"greeting": "Hi"})
    with pytest.raises(UsageError, match="gives a class no arguments"):
        stage(tmp_path / "flex", flex, tmp_path / "other")
