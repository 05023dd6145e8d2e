"""Stands for a flow's Python, and runs our worker with one feature taken away: `switched.py WORKER JSON`.

The JSON is the switch of a case and its arguments.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]


def edit(message: Message, file: str, old: str, new: str) -> None:
    """Change a text in the worker's copy of the flow."""
    path = Path(message["folder"]) / file
    text = path.read_text("utf-8")
    assert old in text, (file, old)
    path.write_text(text.replace(old, new), "utf-8")


def delete(message: Message, file: str) -> None:
    """Remove a file from the worker's copy of the flow."""
    (Path(message["folder"]) / file).unlink()


def clear(message: Message, key: str) -> None:
    """Hand the worker nothing where the request says something."""
    assert message[key]
    message[key] = {}


def change_definition(message: Message, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the definition in the worker's copy of the flow."""
    import yaml

    path = Path(message["folder"]) / message["flow_file"]
    definition = yaml.safe_load(path.read_text("utf-8"))
    before = json.dumps(definition, sort_keys=True)
    change(definition)
    assert json.dumps(definition, sort_keys=True) != before
    path.write_text(json.dumps(definition), "utf-8")


def strip(message: Message, key: str) -> None:
    """Take a key away from every node."""

    def change(flow: dict[str, Any]) -> None:
        for node in flow["nodes"]:
            node.pop(key, None)

    change_definition(message, change)


def strip_top(message: Message, key: str) -> None:
    """Take a key away from the flow."""
    change_definition(message, lambda flow: flow.pop(key) and None)


def strip_output(message: Message, name: str) -> None:
    """Take an output away."""
    change_definition(message, lambda flow: flow["outputs"].pop(name) and None)


def types_off(message: Message) -> None:
    """Know no types of inputs."""

    def change(flow: dict[str, Any]) -> None:
        for name, body in flow["inputs"].items():
            flow["inputs"][name] = {**body, "type": "string"}

    change_definition(message, change)


def around_lines(flow: Any, change: Callable[[Any, dict[str, Any], str], Any]) -> None:
    """Put something between the worker and the flow."""
    run_line = flow.run_line
    flow.run_line = lambda inputs, line_id: change(run_line, inputs, line_id)


def swallow_errors(flow: Any) -> None:
    """Call every line completed."""

    def change(run_line: Any, inputs: dict[str, Any], line_id: str) -> Any:
        try:
            return run_line(inputs, line_id)
        except Exception:  # noqa: BLE001 the feature is switched off
            return {}, {}

    around_lines(flow, change)


def drop_input(flow: Any, name: str) -> None:
    """Never pass on an input."""
    around_lines(flow, lambda run, inputs, key: run({k: v for k, v in inputs.items() if k != name}, key))


def keep(flow: Any, pattern: str) -> None:
    """Pass on only the characters of texts that match."""
    around_lines(
        flow, lambda run, inputs, key: run({k: "".join(re.findall(pattern, v)) for k, v in inputs.items()}, key)
    )


def images_off(flow: Any) -> None:
    """Read no images."""
    flow._executor._multimedia_processor.load_multimedia_data = lambda _, inputs: inputs


def generators_off(flow: Any) -> None:
    """Do not collect what a generator yields."""
    executor = flow._executor
    exec_line = executor.exec_line
    executor.exec_line = lambda *args, **named: exec_line(*args, **{**named, "allow_generator_output": True})


def no_aggregation_inputs(flow: Any) -> None:
    """Give the aggregation nodes no inputs of the flow."""
    aggregate = flow.aggregate
    flow.aggregate = lambda _, aggregation_inputs: aggregate({}, aggregation_inputs)


BEFORE: dict[str, Callable[..., None]] = {
    "edit": edit,
    "delete": delete,
    "message": clear,
    "strip": strip,
    "strip-top": strip_top,
    "strip-output": strip_output,
    "types-off": types_off,
}
"""Switches that change what the worker loads."""

AFTER: dict[str, Callable[..., None]] = {
    "swallow-errors": swallow_errors,
    "drop-input": drop_input,
    "keep": keep,
    "generators-off": generators_off,
    "images-off": images_off,
    "no-aggregation-inputs": no_aggregation_inputs,
}
"""Switches that change how the loaded flow is called."""


def main(worker: str, switch: str) -> None:
    """Do what the worker's own entry does, with the switch in between."""
    entry = runpy.run_path(str(Path(worker) / "__main__.py"), run_name="worker")
    entry["_load_package"]()
    import _llmops_worker.serve as serving

    name, *arguments = json.loads(switch)
    find_loader = serving._loader

    def loader(kind: str) -> Callable[[Message], Any]:
        load = find_loader(kind)

        def load_switched(message: Message) -> Any:
            if name in BEFORE:
                BEFORE[name](message, *arguments)
            flow = load(message)
            if name in AFTER:
                AFTER[name](flow, *arguments)
            return flow

        return load_switched

    serving._loader = loader
    serving.serve(*entry["_take_streams"]())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
