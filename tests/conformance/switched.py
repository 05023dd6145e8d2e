"""Stands for a flow's Python, and runs our worker with one feature taken away: `switched.py WORKER [JOB]`.

The feature is the variable `LLMOPS_TEST_OFF` of the flow, which the flow itself does not get to see.

Every switch acts on the engine: on a function of the worker, or on the executor that the worker has loaded. None of
them touches a flow's files, or knows one of the flows.
"""

from __future__ import annotations

import inspect
import os
import re
import runpy
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

Message = dict[str, Any]
_MODEL_PARAMETERS = {"temperature", "top_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty", "seed"}


# Before the flow is loaded: what the worker hands it, and what promptflow would do with it.


def no_connections(message: Message) -> None:
    """Have no connections."""
    message["connections"] = {}


def no_working_directory(message: Message) -> None:  # noqa: ARG001 as the others
    """Run the flow at the top of the file system."""
    os.chdir(os.sep)
    os.chdir = lambda path: None  # noqa: ARG005


def no_own_modules(message: Message) -> None:
    """Import nothing from the flow's folder."""
    folder = Path(message["folder"])

    class Refusal(MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> None:  # noqa: ARG002 the base class's names
            top = name.partition(".")[0]
            if (folder / top).is_dir() or (folder / f"{top}.py").is_file():
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Refusal())


def no_tools_in_folders(message: Message) -> None:  # noqa: ARG001 as the others
    """Look for the source of a tool at the top of the flow only."""
    from promptflow._core.tools_manager import ToolLoader

    load = ToolLoader.load_tool_for_script_node

    def load_flat(self: Any, node: Any) -> Any:
        node.source.path = Path(node.source.path).name
        return load(self, node)

    ToolLoader.load_tool_for_script_node = load_flat


def no_variables(message: Message) -> None:  # noqa: ARG001 as the others
    """Set no environment variables."""
    from _llmops_worker import surroundings

    surroundings.set_environment = lambda *_: None


def no_references_in_variables(message: Message) -> None:  # noqa: ARG001 as the others
    """Take `${connection.key}` in a variable for text."""
    from _llmops_worker import surroundings

    surroundings._from_connection = lambda value, _: value


def no_overlay(message: Message) -> None:  # noqa: ARG001 as the others
    """Lay no settings over nodes."""
    from _llmops_worker import promptflow_flow

    promptflow_flow._overlay = lambda *_: None


def no_entry_name(message: Message) -> None:  # noqa: ARG001 as the others
    """Take the last function of a flex flow's module, whatever its entry is called."""
    from promptflow.executor import _script_executor as script

    parse = script.ScriptExecutor._parse_flow_file

    def parse_module(self: Any) -> tuple[str, str]:
        module, _ = parse(self)
        functions = inspect.getmembers(__import__(module), inspect.isfunction)
        return module, functions[-1][0]

    script.ScriptExecutor._parse_flow_file = parse_module


def no_state(message: Message) -> None:  # noqa: ARG001 as the others
    """Forget what the class of a flow kept when it was made."""
    from promptflow.executor._script_executor import ScriptExecutor

    parse = ScriptExecutor._parse_entry_func

    def parse_forgetting(self: Any) -> Any:
        call = parse(self)
        vars(call.__self__).clear()
        return call

    ScriptExecutor._parse_entry_func = parse_forgetting


def no_default_variant(message: Message) -> None:  # noqa: ARG001 as the others
    """Take the first variant of a node rather than its default."""
    from promptflow.contracts.flow import Flow

    apply = Flow._apply_default_node_variant

    def apply_first(node: Any, node_variants: Any) -> Any:
        choices = node_variants[node.name]
        choices.default_variant_id = next(iter(choices.variants))
        return apply(node, node_variants)

    Flow._apply_default_node_variant = staticmethod(apply_first)


def no_package_tools(message: Message) -> None:  # noqa: ARG001 as the others
    """Find no tools in installed packages."""
    from promptflow._core import tools_manager

    tools_manager._get_entry_points_by_group = lambda group: []  # noqa: ARG005


def no_templates(message: Message) -> None:  # noqa: ARG001 as the others
    """Take templates for plain text."""
    from _llmops_worker.preload import preload

    preload()
    from promptflow.core import _prompty_utils
    from promptflow.tools import common, openai, template_rendering

    for module in (_prompty_utils, common, openai, template_rendering):
        module.render_jinja_template = lambda template, **_: template


def no_roles(message: Message) -> None:  # noqa: ARG001 as the others
    """Send a chat prompt as one message."""
    from _llmops_worker.preload import preload

    preload()
    from promptflow.tools import common

    common.parse_chat = lambda text, **_: [{"role": "user", "content": text}]


def no_completion(message: Message) -> None:  # noqa: ARG001 as the others
    """Ask the chat API where a node asks for the completion API."""
    from promptflow.executor._tool_resolver import ToolResolver

    resolve = ToolResolver._resolve_llm_node

    def resolve_chat(self: Any, node: Any, **named: Any) -> Any:
        node.api = "chat"
        return resolve(self, node, **named)

    ToolResolver._resolve_llm_node = resolve_chat


def no_properties(message: Message) -> None:  # noqa: ARG001 as the others
    """Take the whole output of a node where a property of it is asked for."""
    from promptflow.executor import _input_assignment_parser

    _input_assignment_parser.parse_node_property = lambda name, value, prop="": value  # noqa: ARG005


def no_answer_format(message: Message) -> None:  # noqa: ARG001 as the others
    """Take the answer of a prompty's model as it is."""
    from promptflow.core import _flow

    form = _flow.format_llm_response

    def form_text(**named: Any) -> Any:
        return form(**{**named, "is_first_choice": True, "response_format": None, "outputs": None})

    _flow.format_llm_response = form_text


def no_first_choice(message: Message) -> None:  # noqa: ARG001 as the others
    """Take all choices of a prompty's model."""
    from promptflow.core import _flow

    form = _flow.format_llm_response
    _flow.format_llm_response = lambda **named: form(**{**named, "is_first_choice": False})


def no_images_of_prompty(message: Message) -> None:  # noqa: ARG001 as the others
    """Take the images of a prompty for text."""
    from promptflow.core import _flow

    _flow._get_image_obj = lambda text, working_dir: text  # noqa: ARG005


def no_images_in_outputs(message: Message) -> None:  # noqa: ARG001 as the others
    """Write images in outputs like any object."""
    from _llmops_worker import promptflow_flow

    promptflow_flow.PromptFlow._with_images = lambda _, outputs: outputs


def no_json(message: Message) -> None:  # noqa: ARG001 as the others
    """Turn everything that is no plain value into text."""
    from _llmops_worker import serve

    def text(value: Any) -> Any:
        return {key: text(item) for key, item in value.items()} if isinstance(value, dict) else str(value)

    serve.json_value = text


# After the flow is loaded: how the worker calls it, and what the executor holds.


def around_lines(flow: Any, change: Callable[[Any, dict[str, Any], str], Any]) -> None:
    """Put something between the worker and the flow."""
    run_line = flow.run_line
    flow.run_line = lambda inputs, line_id: change(run_line, inputs, line_id)


def no_failures(flow: Any) -> None:
    """Call every line completed."""

    def change(run_line: Any, inputs: dict[str, Any], line_id: str) -> Any:
        try:
            return run_line(inputs, line_id)
        except Exception:  # noqa: BLE001 the feature is switched off
            return {}, {}

    around_lines(flow, change)


def no_unicode(flow: Any) -> None:
    """Pass on only what is ASCII."""

    def plain(text: str) -> str:
        return "".join(re.findall("[ -~]", text))

    around_lines(flow, lambda run, inputs, key: run({name: plain(text) for name, text in inputs.items()}, key))


def no_history(flow: Any) -> None:
    """Start every chat anew."""
    around_lines(flow, lambda run, inputs, key: run({**inputs, "chat_history": []}, key))


def no_named_outputs(flow: Any) -> None:
    """Call whatever a flow returns `output`."""

    def change(run_line: Any, inputs: dict[str, Any], line_id: str) -> Any:
        outputs, rest = run_line(inputs, line_id)
        return {"output": outputs}, rest

    around_lines(flow, change)


def no_images(flow: Any) -> None:
    """Read no images."""
    flow._executor._multimedia_processor.load_multimedia_data = lambda _, inputs: inputs


def no_image_places(flow: Any) -> None:
    """Look for images in the flow's folder."""

    def change(run_line: Any, inputs: dict[str, Any], line_id: str) -> Any:
        flat = {name: {key: Path(path).name for key, path in image.items()} for name, image in inputs.items()}
        return run_line(flat, line_id)

    around_lines(flow, change)


def no_generators(flow: Any) -> None:
    """Do not collect what a generator yields."""
    executor = flow._executor
    exec_line = executor.exec_line
    executor.exec_line = lambda *args, **named: exec_line(*args, **{**named, "allow_generator_output": True})


def no_aggregation(flow: Any) -> None:
    """Call no aggregation."""
    flow.has_aggregation = False


def no_aggregation_order(flow: Any) -> None:
    """Give aggregation nodes nothing of one another."""
    nodes = [node for node in flow._executor._flow.nodes if node.aggregation]
    names = {node.name for node in nodes}
    for node in nodes:
        node.inputs = {name: value for name, value in node.inputs.items() if value.value not in names}


def no_inputs_of_aggregation(flow: Any) -> None:
    """Give the aggregation nodes no inputs of the flow."""
    aggregate = flow.aggregate
    flow.aggregate = lambda _, aggregation_inputs: aggregate({}, aggregation_inputs)


def no_activation(flow: Any) -> None:
    """Run every node."""
    for node in flow._executor._flow.nodes:
        node.activate = None


def no_order(flow: Any) -> None:  # noqa: ARG001 as the others
    """Start every node at once."""
    from promptflow.executor._dag_manager import DAGManager

    DAGManager._is_node_ready = lambda self, node: True  # noqa: ARG005


def no_awaiting(flow: Any) -> None:
    """Call coroutine functions like any function."""
    executor = flow._executor
    executor._is_async = False
    if hasattr(executor, "_func_async"):
        executor._func = _not_awaiting(executor._func_async)
        return
    tools = executor._tools_manager._tools
    for name, function in tools.items():
        tools[name] = _not_awaiting(function)


def _not_awaiting(function: Callable[..., Any]) -> Callable[..., str]:
    return lambda *args, **named: str(type(function(*args, **named)))


class BrokenSwitchError(Exception):
    """A switch does not fit the engine any more; the flow says nothing then."""


def no_tools(flow: Any) -> None:
    """Pass on the first input of each node instead of calling its tool."""
    tools = flow._executor._tools_manager._tools
    for name in tools:
        tools[name] = lambda **named: next(iter(named.values()))


def no_tool_defaults(flow: Any) -> None:
    """Know no defaults of a function's parameters."""
    for function in flow._executor._tools_manager._tools.values():
        inspect.unwrap(function).__defaults__ = None


def no_keywords(flow: Any) -> None:
    """Pass to a tool only the parameters that it names."""
    tools = flow._executor._tools_manager._tools
    for name, function in tools.items():
        kinds = inspect.signature(function).parameters
        named = {key for key, parameter in kinds.items() if parameter.kind is not parameter.VAR_KEYWORD}
        tools[name] = lambda _function=function, _names=named, **given: _function(
            **{key: value for key, value in given.items() if key in _names}
        )


def no_input_defaults(flow: Any) -> None:
    """Know no defaults of the flow's inputs."""
    executor = flow._executor
    inputs = executor._inputs_sign if hasattr(executor, "_inputs_sign") else executor._flow.inputs
    for definition in inputs.values():
        definition.default = None
    for definition in getattr(getattr(executor, "prompty", None), "_inputs", {}).values():
        definition.pop("default", None)


def no_parameter_defaults(flow: Any) -> None:
    """Know no defaults of a flex flow's function."""
    executor = flow._executor
    no_input_defaults(flow)
    names = list(executor._inputs)
    call = executor._func
    executor._func = lambda **given: call(**{name: given.get(name) for name in names})


def no_input_types(flow: Any) -> None:
    """Take every input for text."""
    from promptflow.contracts.tool import ValueType

    for definition in flow._executor._flow.inputs.values():
        definition.type = ValueType.STRING


def no_literal_types(flow: Any) -> None:
    """Take every literal for text."""
    from promptflow.contracts.flow import InputValueType

    for node in flow._executor._flow.nodes:
        for assignment in node.inputs.values():
            if assignment.value_type == InputValueType.LITERAL:
                assignment.value = str(assignment.value)


def no_model_parameters(flow: Any) -> None:
    """Send a model nothing but the prompt."""
    executor = flow._executor
    if hasattr(executor, "prompty"):
        executor.prompty._model.parameters.clear()
        return
    for node in executor._flow.nodes:
        node.inputs = {name: value for name, value in node.inputs.items() if name not in _MODEL_PARAMETERS}


def no_inputs_as_outputs(flow: Any) -> None:
    """Offer as outputs only what nodes return."""
    from promptflow.contracts.flow import InputValueType

    outputs = flow._executor._flow.outputs
    for name, output in list(outputs.items()):
        if output.reference.value_type == InputValueType.FLOW_INPUT:
            del outputs[name]


BEFORE: dict[str, Callable[[Message], None]] = {
    "connections": no_connections,
    "working-directory": no_working_directory,
    "own-modules": no_own_modules,
    "tools-in-folders": no_tools_in_folders,
    "variables": no_variables,
    "references-in-variables": no_references_in_variables,
    "overlay": no_overlay,
    "entry-name": no_entry_name,
    "state": no_state,
    "default-variant": no_default_variant,
    "package-tools": no_package_tools,
    "templates": no_templates,
    "roles": no_roles,
    "completion": no_completion,
    "properties": no_properties,
    "answer-format": no_answer_format,
    "first-choice": no_first_choice,
    "images-of-prompty": no_images_of_prompty,
    "images-in-outputs": no_images_in_outputs,
    "json": no_json,
}
"""Switches that change what the worker loads."""

AFTER: dict[str, Callable[[Any], None]] = {
    "failures": no_failures,
    "unicode": no_unicode,
    "history": no_history,
    "named-outputs": no_named_outputs,
    "images": no_images,
    "image-places": no_image_places,
    "generators": no_generators,
    "aggregation": no_aggregation,
    "aggregation-order": no_aggregation_order,
    "inputs-of-aggregation": no_inputs_of_aggregation,
    "activation": no_activation,
    "order": no_order,
    "awaiting": no_awaiting,
    "tools": no_tools,
    "tool-defaults": no_tool_defaults,
    "keywords": no_keywords,
    "input-defaults": no_input_defaults,
    "parameter-defaults": no_parameter_defaults,
    "input-types": no_input_types,
    "literal-types": no_literal_types,
    "model-parameters": no_model_parameters,
    "inputs-as-outputs": no_inputs_as_outputs,
}
"""Switches that change how the loaded flow is called."""


def main(worker: str, *job: str) -> None:
    """Do what the worker's own entry does, with the switches in between."""
    entry = runpy.run_path(str(Path(worker) / "__main__.py"), run_name="worker")
    entry["_load_package"]("_llmops_worker", Path(worker))
    import _llmops_worker.serve as serving

    find_loader = serving._loader

    def loader(kind: str) -> Callable[[Message], Any]:
        load = find_loader(kind)

        def load_switched(message: Message) -> Any:
            feature = message["environment_variables"].pop("LLMOPS_TEST_OFF")
            flip(BEFORE, feature, message)
            flow = load(message)
            flip(AFTER, feature, flow)
            return flow

        return load_switched

    serving._loader = loader
    entry["_main"](list(job))


def flip(switches: dict[str, Callable[[Any], None]], feature: str, subject: Any) -> None:
    """Take a feature away, if it is one of these switches."""
    try:
        if feature in switches:
            switches[feature](subject)
    except Exception as error:
        raise BrokenSwitchError(feature) from error


if __name__ == "__main__":
    main(*sys.argv[1:])
