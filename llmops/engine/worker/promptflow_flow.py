"""Flows that promptflow-core executes: DAG, flex, prompty."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import importlib.metadata
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import attribution, surroundings
from .preload import preload

_LINE = "line"
"""Key under which a flex flow's line travels to its `__aggregate__`."""

_CONNECTION_CLASSES = {
    "open_ai": "OpenAIConnection",
    "azure_open_ai": "AzureOpenAIConnection",
    "serverless": "ServerlessConnection",
    "custom": "CustomConnection",
}


_errors: contextvars.ContextVar[list[BaseException]] = contextvars.ContextVar("errors")
"""Takes what the user's function raises in the line, or the aggregation, that this context runs."""


class FlowFailedError(Exception):
    """A line failed outside of the user's function, for instance while its generator was read."""


class LlmToolMissingError(Exception):
    """The flow has an LLM or prompt node, and the package with those tools is not installed."""


def load(message: dict[str, Any]) -> PromptFlow:
    """Load a flow with promptflow-core's executor; whatever it raises goes to the driver."""
    if message["trace"]:
        os.environ.setdefault("PF_LOGGING_LEVEL", "CRITICAL")
    definition = prepare(message)
    from promptflow.executor import FlowExecutor

    from .node_log import NodeLog

    attribution.tell(message["connections"])
    folder = Path(message["folder"])
    connections = {name: _connection(name, value) for name, value in message["connections"].items()}
    is_overlaid = message["variants"] or message["nodes"]
    flow_file = _write_definition(definition) if is_overlaid else folder / message["flow_file"]
    node_log = NodeLog(trace=message["trace"])
    executor = FlowExecutor.create(
        flow_file, connections, folder, raise_ex=True, storage=node_log, init_kwargs=init_of(message) or None
    )
    return PromptFlow(executor, node_log)


def prepare(message: dict[str, Any]) -> dict[str, Any]:
    """Make this process fit for a flow, a worker or a serving process alike: import roots, connections, variables.

    Returns:
        The definition with the chosen variants; nothing for a prompty.
    """
    preload()  # before the flow's folder is in the way: no module in it may take the place of a library's
    surroundings.enter(message)
    _provide({name: _connection(name, value) for name, value in message["connections"].items()})
    definition = _definition(Path(message["folder"]) / message["flow_file"], message["variants"], message["nodes"])
    surroundings.set_environment(
        {**definition.get("environment_variables", {}), **message["environment_variables"]}, message["connections"]
    )
    _require_llm_tool(definition)
    return definition


def init_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return what the flow is built with, after `prepare`."""
    is_prompty = message["kind"] == "prompty"
    init: dict[str, Any] = (
        _prompty_model(Path(message["folder"]) / message["flow_file"]) if is_prompty else message["init"]
    )
    return init


def _provide(connections: dict[str, Any]) -> None:
    """Let promptflow find connections by name where it does not hand them on: model configurations and prompty.

    Its own provider asks the devkit, which is not there.
    """
    from promptflow.core._connection_provider._connection_provider import ConnectionProvider
    from promptflow.core._connection_provider._dict_connection_provider import DictConnectionProvider

    ConnectionProvider._instance = DictConnectionProvider(connections)  # noqa: SLF001 it offers no public way


def _prompty_model(prompty: Path) -> dict[str, Any]:
    """Return the overlay that hands a prompty its connection itself, since by name it would ask the devkit."""
    from promptflow.core import Prompty
    from promptflow.core._connection_provider._connection_provider import ConnectionProvider

    configs, _ = Prompty._parse_prompty(prompty)  # noqa: SLF001 as in _provide
    name = (configs.get("model") or {}).get("configuration", {}).get("connection")
    if not isinstance(name, str):
        return {}
    connection = ConnectionProvider.get_instance().get(name)
    return {"model": {"configuration": {"connection": connection}}}


class PromptFlow:
    """A loaded flow; `run_line` may be called from many threads."""

    def __init__(self, executor: Any, node_log: Any) -> None:
        self._executor = executor
        self.take_trace: Callable[[], list[dict[str, Any]]] = node_log.take
        self._is_dag = type(executor).__name__ == "FlowExecutor"
        self.has_aggregation: bool = executor.has_aggregation_node
        self.versions = {"promptflow-core": importlib.metadata.version("promptflow-core")}
        if not self._is_dag:
            _keep_errors(executor)

    def run_line(self, inputs: dict[str, Any], line_id: str) -> tuple[Any, Any]:
        """Run one line; `line_id` travels as promptflow's run id in the header that it adds to model calls."""
        errors: list[BaseException] = []
        _errors.set(errors)
        result = self._executor.exec_line(inputs, index=None, run_id=line_id, allow_generator_output=False)
        if self._is_dag:
            return self._with_images(result.output), self._with_images(result.aggregation_inputs)
        if result.run_info.error:
            raise errors[0] if errors else FlowFailedError(result.run_info.error.get("message", ""))
        outputs = result.output
        if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
            outputs = dataclasses.asdict(outputs)
        named = outputs if isinstance(outputs, dict) else {"output": outputs}
        return named, {_LINE: outputs} if self.has_aggregation else {}

    def _with_images(self, outputs: Any) -> Any:
        """Write images as prompt flow's data does, in base64, so that an evaluation flow can take them."""
        return self._executor._multimedia_processor.convert_multimedia_data_to_base64_dict(outputs)  # noqa: SLF001

    def aggregate(self, inputs: dict[str, list[Any]], aggregation_inputs: dict[str, list[Any]]) -> dict[str, Any]:
        """Run the aggregation nodes over all lines."""
        if self._is_dag:
            return dict(self._executor.exec_aggregation(inputs, aggregation_inputs).metrics)
        errors: list[BaseException] = []
        _errors.set(errors)
        metrics = dict(self._executor.exec_aggregation({}, aggregation_inputs.get(_LINE, [])).metrics)
        if errors:
            raise errors[0]
        return metrics


def _keep_errors(executor: Any) -> None:
    """Remember what the user's function raises: promptflow keeps a text of it, or only logs it."""
    for name in ("_func", "_func_async", "_aggr_func"):
        function = getattr(executor, name, None)
        if function is not None:
            setattr(executor, name, _keeping_errors(function))


def _keeping_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        async def call_async(*args: Any, **named: Any) -> Any:
            with _kept():
                return await function(*args, **named)

        return call_async

    def call(*args: Any, **named: Any) -> Any:
        with _kept():
            return function(*args, **named)

    return call


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _errors.get([]).append(error)
        raise


def _connection(name: str, value: dict[str, Any]) -> dict[str, Any]:
    secrets = dict(value["secrets"])
    return {
        "name": name,
        "type": _CONNECTION_CLASSES[value["type"]],
        "module": "promptflow.connections",
        "value": {**value["configs"], **secrets},
        "secret_keys": list(secrets),
    }


def _definition(flow_file: Path, variants: dict[str, str], nodes: dict[str, dict[str, str]]) -> dict[str, Any]:
    if flow_file.suffix not in {".yaml", ".yml"}:
        return {}
    from promptflow._utils.yaml_utils import load_yaml

    definition: dict[str, Any] = load_yaml(flow_file)
    for node, variant in variants.items():
        definition["node_variants"][node]["default_variant_id"] = variant
    for node in definition.get("nodes") or []:
        if node.get("name") in nodes:
            _overlay(_chosen(definition, node), nodes[node["name"]])
    return definition


def _chosen(definition: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a node: of a node with variants that of the variant which runs."""
    if not node.get("use_variants"):
        return node
    choices = definition["node_variants"][node["name"]]
    chosen: dict[str, Any] = choices["variants"][choices["default_variant_id"]]["node"]
    return chosen


def _overlay(body: dict[str, Any], settings: dict[str, str]) -> None:
    """Lay settings over a node as prompt flow's `connections` does: an LLM node's own connection, else inputs."""
    for name, value in settings.items():
        if name == "connection" and body.get("type") == "llm":
            body["connection"] = value
        else:
            body.setdefault("inputs", {})[name] = value


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
