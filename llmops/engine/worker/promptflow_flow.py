"""Flows that promptflow-core executes: DAG, flex, prompty."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from . import surroundings

_LINE = "line"
"""Key under which a flex flow's line travels to its `__aggregate__`."""

_CONNECTION_CLASSES = {
    "open_ai": "OpenAIConnection",
    "azure_open_ai": "AzureOpenAIConnection",
    "serverless": "ServerlessConnection",
    "custom": "CustomConnection",
}


class LlmToolMissingError(Exception):
    """The flow has an LLM or prompt node, and the package with those tools is not installed."""


def load(message: dict[str, Any]) -> PromptFlow:
    """Load a flow with promptflow-core's executor; whatever it raises goes to the driver."""
    folder = Path(message["folder"])
    os.environ.setdefault("PF_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PF_DISABLE_TRACING", "true")
    surroundings.enter(message)
    _offer_devkit_names()
    from promptflow.executor import FlowExecutor

    from .node_log import NodeLog

    connections = {name: _connection(name, value) for name, value in message["connections"].items()}
    definition = _definition(folder / message["flow_file"], message["variants"])
    surroundings.set_environment(
        {**definition.get("environment_variables", {}), **message["environment_variables"]}, message["connections"]
    )
    _require_llm_tool(definition)
    flow_file = _write_definition(definition) if message["variants"] else folder / message["flow_file"]
    executor = FlowExecutor.create(
        flow_file, connections, folder, raise_ex=True, storage=NodeLog(), init_kwargs=message["init"] or None
    )
    return PromptFlow(executor)


class PromptFlow:
    """A loaded flow; `run_line` may be called from many threads."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._is_dag = type(executor).__name__ == "FlowExecutor"
        self.has_aggregation: bool = executor.has_aggregation_node
        self.versions = {"promptflow-core": importlib.metadata.version("promptflow-core")}

    def run_line(self, inputs: dict[str, Any], line_id: str) -> tuple[Any, Any]:
        """Run one line; `line_id` travels as promptflow's run id in the header that it adds to model calls."""
        result = self._executor.exec_line(inputs, index=None, run_id=line_id, allow_generator_output=False)
        if self._is_dag:
            return result.output, result.aggregation_inputs
        outputs = result.output if isinstance(result.output, dict) else {"output": result.output}
        return outputs, {_LINE: result.output} if self.has_aggregation else {}

    def aggregate(self, inputs: dict[str, list[Any]], aggregation_inputs: dict[str, list[Any]]) -> dict[str, Any]:
        """Run the aggregation nodes over all lines."""
        if self._is_dag:
            return dict(self._executor.exec_aggregation(inputs, aggregation_inputs).metrics)
        return dict(self._executor.exec_aggregation({}, aggregation_inputs.get(_LINE, [])).metrics)


def _offer_devkit_names() -> None:
    """Give promptflow-tools the six names that it imports from the devkit, when the devkit is absent."""
    try:
        import promptflow._internal  # noqa: F401
    except ImportError:
        pass
    else:
        return
    from promptflow._core.cache_manager import enable_cache
    from promptflow._core.tool import ToolProvider, tool
    from promptflow._core.tools_manager import register_apis, register_builtins

    internal = types.ModuleType("promptflow._internal")
    vars(internal).update(
        tool=tool,
        ToolProvider=ToolProvider,
        register_apis=register_apis,
        register_builtins=register_builtins,
        enable_cache=enable_cache,
    )
    cli = types.ModuleType("promptflow._cli")
    cli.__path__ = []
    cli_utils = types.ModuleType("promptflow._cli._utils")
    vars(cli_utils).update(get_workspace_triad_from_local=lambda: (None, None, None))
    sys.modules.update({"promptflow._internal": internal, "promptflow._cli": cli, "promptflow._cli._utils": cli_utils})


def _connection(name: str, value: dict[str, Any]) -> dict[str, Any]:
    secrets = dict(value["secrets"])
    return {
        "name": name,
        "type": _CONNECTION_CLASSES[value["type"]],
        "module": "promptflow.connections",
        "value": {**value["configs"], **secrets},
        "secret_keys": list(secrets),
    }


def _definition(flow_file: Path, variants: dict[str, str]) -> dict[str, Any]:
    if flow_file.suffix not in {".yaml", ".yml"}:
        return {}
    from promptflow._utils.yaml_utils import load_yaml

    definition: dict[str, Any] = load_yaml(flow_file)
    for node, variant in variants.items():
        definition["node_variants"][node]["default_variant_id"] = variant
    return definition


def _write_definition(definition: dict[str, Any]) -> Path:
    """Write the flow with its variants chosen as JSON, which is YAML, outside of the flow's folder."""
    path = Path(tempfile.mkdtemp(prefix="llmops-worker-")) / "flow.dag.yaml"
    path.write_text(json.dumps(definition, default=str), encoding="utf-8")
    return path


def _require_llm_tool(definition: dict[str, Any]) -> None:
    types_used = {node.get("type") for node in definition.get("nodes", [])}
    for choice in definition.get("node_variants", {}).values():
        types_used |= {variant.get("node", {}).get("type") for variant in choice.get("variants", {}).values()}
    if not types_used & {"llm", "prompt"}:
        return
    try:
        import promptflow.tools  # noqa: F401
    except ImportError as error:
        message = (
            "the package promptflow-tools, which holds the LLM and prompt tools, cannot be imported "
            f"({error}); run `llmops setup`"
        )
        raise LlmToolMissingError(message) from error
