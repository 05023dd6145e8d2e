"""Operators that plant one defect each, at every place of a flow where it fits."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from llmops.flows.definition import parse_definition


class Planted(NamedTuple):
    """A defect: the rule that must find it, what was done, and files with their new text (None: deleted)."""

    code: str
    what: str
    files: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Original:
    """A correct flow: its project, its definition relative to it, and, but for prompty files, the parsed document."""

    root: Path
    path: str
    document: dict[str, Any]

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def beside(self, name: str) -> str:
        return str(Path(self.path).parent / name)

    def change(self, code: str, what: str, mutate: Change) -> Planted:
        document = copy.deepcopy(self.document)
        mutate(document)
        return Planted(code, what, {self.path: yaml.safe_dump(document, sort_keys=False)})

    def rewrite(self, code: str, what: str, name: str, text: str) -> Planted:
        assert text != self.text(name), f"{what} changed nothing in {name}"
        return Planted(code, what, {name: text})


Change = Callable[[dict[str, Any]], object]
Operator = Callable[[Original], Iterator[Planted]]
DAG: list[Operator] = []
FLEX: list[Operator] = []
PROMPTY: list[Operator] = []


def fits(*kinds: list[Operator]) -> Callable[[Operator], Operator]:
    """Register an operator for kinds of flows."""

    def register(operator: Operator) -> Operator:
        for kind in kinds:
            kind.append(operator)
        return operator

    return register


def read_original(root: Path, path: str) -> Original:
    is_yaml = not path.endswith(".prompty")
    document = dict(parse_definition((root / path).read_bytes(), path).data) if is_yaml else {}
    return Original(root=root, path=path, document=document)


def plant(original: Original) -> Iterator[Planted]:
    """Plant every defect that fits."""
    kind = FLEX if "entry" in original.document else DAG
    for operator in PROMPTY if original.path.endswith(".prompty") else kind:
        yield from operator(original)


def _bodies(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List the nodes, or the variants of a node, with a name for messages."""
    found = []
    for node in document["nodes"]:
        if node.get("use_variants"):
            variants = document["node_variants"][node["name"]]["variants"]
            found += [(f"{node['name']}/{name}", body["node"]) for name, body in variants.items()]
        else:
            found.append((node["name"], node))
    return found


def _at(index: int, mutate: Change) -> Change:
    return lambda document: mutate(_bodies(document)[index][1])


def _set(key: str, value: Any) -> Change:
    return lambda body: body.__setitem__(key, value)


def _drop(key: str) -> Change:
    return lambda body: body.pop(key, None)


def _reach(document: dict[str, Any], keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        document = document[key]  # type: ignore[index]  # lists are reached through their indexes
    return document


def _put(*keys: str | int, value: Any) -> Change:
    return lambda document: _reach(document, keys[:-1]).__setitem__(keys[-1], value)


def _pop(*keys: str | int) -> Change:
    return lambda document: _reach(document, keys[:-1]).pop(keys[-1])


def _append(*keys: str | int, value: Any) -> Change:
    return lambda document: _reach(document, keys).append(value)


def _rename_key(*keys: str | int, new: str) -> Change:
    return lambda document: _rename(_reach(document, keys[:-1]), str(keys[-1]), new)


def _rename(mapping: dict[str, Any], old: str, new: str) -> None:
    items = [(new if key == old else key, value) for key, value in mapping.items()]
    mapping.clear()
    mapping.update(items)


def _references(original: Original) -> Iterator[tuple[int, str, str]]:
    for index, (_, body) in enumerate(_bodies(original.document)):
        for name, value in (body.get("inputs") or {}).items():
            if isinstance(value, str) and value.startswith("${"):
                yield index, name, value


def _input_set(name: str, value: Any) -> Change:
    return lambda body: body["inputs"].__setitem__(name, value)


@fits(DAG)
def misspell_references(original: Original) -> Iterator[Planted]:
    for index, name, value in _references(original):
        is_input = value.startswith(("${inputs.", "${flow."))
        wrong = re.sub(r"^\$\{((?:inputs|flow)\.)?(\w+)", r"${\1\2x", value)
        code = "LL102" if is_input else "LL101"
        yield original.change(code, f"{name}: {value} became {wrong}", _at(index, _input_set(name, wrong)))


@fits(DAG)
def break_references(original: Original) -> Iterator[Planted]:
    for index, name, value in _references(original):
        if "." not in value:
            continue
        yield original.change("LL103", f"{name}: unclosed", _at(index, _input_set(name, value[:-1])))
        yield original.change("LL103", f"{name}: inside text", _at(index, _input_set(name, f"Say {value}")))
        if ".output" in value:
            plural = value.replace(".output", ".outputs")
            yield original.change("LL103", f"{name}: {plural}", _at(index, _input_set(name, plural)))


@fits(DAG)
def spoil_outputs(original: Original) -> Iterator[Planted]:
    for name, body in (original.document.get("outputs") or {}).items():
        yield original.change(
            "LL101", f"output {name} of nowhere", _put("outputs", name, "reference", value="${nowhere.output}")
        )
        yield original.change(
            "LL108", f"output {name} a constant", _put("outputs", name, "reference", value="always this")
        )
        yield original.change("LL108", f"output {name} dangles", _pop("outputs", name, "reference"))
        if body["reference"].count(".") > 1:
            yield original.change(
                "LL109",
                f"field of {name}",
                _put("outputs", name, "reference", value=body["reference"].replace("}", "x}")),
            )
        for node in original.document["nodes"]:
            if node.get("aggregation"):
                yield original.change(
                    "LL113",
                    f"output {name} aggregated",
                    _put("outputs", name, "reference", value=f"${{{node['name']}.output}}"),
                )


@fits(DAG)
def repeat_and_remove_nodes(original: Original) -> Iterator[Planted]:
    for index, node in enumerate(original.document["nodes"]):
        name = node["name"]
        double = copy.deepcopy(node)
        yield original.change("LL106", f"{name} twice", _append("nodes", value=double))
        if not node.get("aggregation") and not node.get("use_variants"):
            orphan = {**copy.deepcopy(node), "name": f"{name}_left_over"}
            yield original.change("LL105", f"{name} copied", _append("nodes", value=orphan))
        if any(value.startswith(f"${{{name}.") for _, _, value in _references(original)):
            yield original.change("LL101", f"{name} removed", _pop("nodes", index))
        yield original.change("LL110", f"{name} without name", _pop("nodes", index, "name"))
        if not node.get("use_variants"):
            yield original.change("LL110", f"{name} of type x", _put("nodes", index, "type", value="phyton"))
            yield original.change("LL110", f"{name} without source", _pop("nodes", index, "source"))


@fits(DAG)
def close_circles(original: Original) -> Iterator[Planted]:
    for index, name, value in _references(original):
        match = re.match(r"\$\{(\w+)\.output", value)
        bodies = _bodies(original.document)
        if not match:
            continue
        source = next((n for n, (other, _) in enumerate(bodies) if other.partition("/")[0] == match[1]), None)
        target = bodies[index][0].partition("/")[0]
        inputs = bodies[source][1].get("inputs") if source is not None else None
        if source is not None and inputs and not _is_aggregated(original, target):
            first = next(iter(inputs))
            back = f"${{{target}.output}}"
            yield original.change("LL104", f"{match[1]} and {name}", _at(source, _input_set(first, back)))


def _is_aggregated(original: Original, name: str) -> bool:
    return any(node["name"] == name and node.get("aggregation") for node in original.document["nodes"])


@fits(DAG)
def aggregate_too_early(original: Original) -> Iterator[Planted]:
    used = {match[1] for _, _, value in _references(original) if (match := re.match(r"\$\{(\w+)\.output", value))}
    followers = {
        match[1]
        for index, _, value in _references(original)
        if (match := re.match(r"\$\{(\w+)\.output", value))
        and not _is_aggregated(original, _bodies(original.document)[index][0].partition("/")[0])
    }
    for index, node in enumerate(original.document["nodes"]):
        if node["name"] in used & followers and not node.get("aggregation"):
            yield original.change("LL112", node["name"], _put("nodes", index, "aggregation", value=True))


@fits(DAG)
def spoil_inputs(original: Original) -> Iterator[Planted]:
    def add(body: dict[str, Any]) -> Change:
        return lambda document: document.setdefault("inputs", {}).update(left_over=body)

    yield original.change("LL107", "an unused input", add({"type": "string"}))
    yield original.change("LL115", "a default of another type", add({"type": "int", "default": "many"}))
    yield original.change("LL115", "a default of another type", add({"type": "bool", "default": "maybe"}))
    for name in original.document.get("inputs") or {}:
        wrong = {"type": "str"}
        yield original.change("LL114", f"{name} is a str", _put("inputs", name, value=wrong))


@fits(DAG)
def spoil_activation(original: Original) -> Iterator[Planted]:
    for index, node in enumerate(original.document["nodes"]):
        if "activate" not in node:
            continue
        for key in ("is", "when"):
            yield original.change("LL111", f"no {key}", _pop("nodes", index, "activate", key))
        nowhere = "${nowhere.output}"
        yield original.change("LL101", "on nowhere", _put("nodes", index, "activate", "when", value=nowhere))
        yield original.change("LL111", "on a constant", _put("nodes", index, "activate", "when", value="yes"))


@fits(DAG)
def lose_files(original: Original) -> Iterator[Planted]:
    for index, (name, body) in enumerate(_bodies(original.document)):
        path = (body.get("source") or {}).get("path")
        if path:
            elsewhere = {**body["source"], "path": f"lost/{path}"}
            yield original.change("LL201", f"{name} elsewhere", _at(index, _set("source", elsewhere)))
            yield Planted("LL201", f"{path} deleted", {original.beside(path): None})


@fits(DAG)
def spoil_tools(original: Original) -> Iterator[Planted]:
    for index, (name, body) in enumerate(_bodies(original.document)):
        path = (body.get("source") or {}).get("path", "")
        if body["type"] != "python" or not path.endswith(".py"):
            continue
        file, text = original.beside(path), original.text(original.beside(path))
        yield original.rewrite("LL202", f"{path} broken", file, text.replace("return", "return return", 1) + "\n)")
        bare = re.sub(r"(?m)^\s*@\S*tool\S*\n", "", text)
        yield original.rewrite("LL203", f"{path} without @tool", file, bare)
        second = "\n\nfrom promptflow.core import tool as another\n\n\n@another\ndef second():\n    return 1\n"
        yield original.rewrite("LL203", f"{path} with two tools", file, text + second)
        takes_any = "**" in text
        for given in body.get("inputs") or {}:
            if not takes_any:
                yield original.change(
                    "LL204", f"{name}: {given}_", _at(index, _rename_key("inputs", given, new=f"{given}_"))
                )
            if re.search(rf"\b{given}\b(: [\w.\[\], ]+)?[,)]", text):
                yield original.change("LL205", f"{name} without {given}", _at(index, _pop("inputs", given)))
            if re.search(rf"\b{given}: (int|float)\b", text):
                yield original.change("LL206", f"{name}: {given} is text", _at(index, _input_set(given, "abc")))
        if not takes_any:
            yield original.change(
                "LL204", f"{name}: one too many", _at(index, lambda b: b.setdefault("inputs", {}).update(extra=1))
            )


@fits(DAG)
def spoil_models(original: Original) -> Iterator[Planted]:
    for index, (name, body) in enumerate(_bodies(original.document)):
        if body["type"] != "llm":
            continue
        yield original.change("LL207", f"{name} without connection", _at(index, _drop("connection")))
        yield original.change("LL209", f"{name} without api", _at(index, _drop("api")))
        yield original.change("LL209", f"{name} with another api", _at(index, _set("api", "chats")))
        yield original.change("LL208", f"{name} without model", _at(index, _without_model))
        for parameter, value in (("temperature", 7), ("top_p", -1), ("max_tokens", 0), ("presence_penalty", "high")):
            yield original.change("LL210", f"{name}: {parameter} {value}", _at(index, _input_set(parameter, value)))
        yield original.change("LL303", f"{name}: temprature", _at(index, _input_set("temprature", 0)))


def _without_model(body: dict[str, Any]) -> None:
    for key in ("model", "deployment_name"):
        body["inputs"].pop(key, None)


@fits(DAG)
def spoil_templates(original: Original) -> Iterator[Planted]:
    for index, (name, body) in enumerate(_bodies(original.document)):
        path = (body.get("source") or {}).get("path", "")
        if body["type"] not in ("llm", "prompt"):
            continue
        file, text = original.beside(path), original.text(original.beside(path))
        yield original.rewrite("LL301", f"{path}: open block", file, text + "{% if x %}")
        yield original.rewrite("LL301", f"{path}: open braces", file, text + "{{ x ")
        yield original.rewrite("LL301", f"{path}: no such filter", file, text + "{{ 'x' | shout }}")
        yield original.rewrite("LL302", f"{path}: a new variable", file, text + "{{ new_one }}")
        yield original.rewrite("LL304", f"{path}: include", file, text + "{% include 'more.jinja2' %}")
        if body.get("api") == "chat" and "{%" not in text:
            bare = re.sub(r"(?im)^\s*#?\s*(system|user|assistant)\s*:\s*$", "", text)
            yield original.rewrite("LL305", f"{path}: no roles", file, bare)
        for given in body.get("inputs") or {}:
            if re.search(rf"\b{given}\b", text) and given != "model":
                yield original.change("LL302", f"{name} without {given}", _at(index, _pop("inputs", given)))
        yield original.change("LL303", f"{name}: one too many", _at(index, _input_set("extra", "x")))


@fits(DAG)
def spoil_variants(original: Original) -> Iterator[Planted]:
    for name in original.document.get("node_variants") or {}:
        keys = ("node_variants", name)
        yield original.change("LL401", f"{name}: no default", _pop(*keys, "default_variant_id"))
        yield original.change("LL402", f"{name}: unknown default", _put(*keys, "default_variant_id", value="variant_9"))
        yield original.change("LL403", f"{name}: no variants", _pop(*keys, "variants"))
        yield original.change("LL403", f"{name}: all gone", lambda d: d.pop("node_variants"))
        yield original.change("LL404", f"{name}: renamed", _rename_key("node_variants", name, new=f"{name}_"))


@fits(DAG, FLEX)
def spoil_files(original: Original) -> Iterator[Planted]:
    text = original.text(original.path)
    yield original.rewrite("LL001", "a tab", original.path, text + "\n\t- x: [\n")
    yield original.rewrite("LL001", "a list", original.path, "- nothing\n")
    first = next(key for key in original.document if key in ("inputs", "nodes", "entry"))
    value = original.document[first]
    yield original.rewrite("LL002", f"{first} twice", original.path, text + "\n" + yaml.safe_dump({first: value}))
    key = "sk" + "-" + "Zk3Q9vX2" * 4
    yield original.rewrite("LL701", "a key in the definition", original.path, f"{text}\n# {key}\n")
    settings = original.beside("settings.json")
    token = '{"api' + '_key": "' + "8f3a1c7e5b9d2f40" * 2 + '"}'
    yield Planted("LL701", "a key in settings.json", {settings: token})
    yield original.rewrite("LL003", "no reason", original.path, f"{text}\n# llmops: ignore[LL105]\n")
    yield original.rewrite("LL003", "unknown code", original.path, f"{text}\n# llmops: ignore[LL999] it is fine\n")
    yield original.rewrite("LL004", "nothing silenced", original.path, f"{text}\n# llmops: ignore[LL104] once so\n")
    yield original.change("LL704", "an include that is not there", _add_include)


def _add_include(document: dict[str, Any]) -> None:
    document.setdefault("additional_includes", []).append("../../nowhere/at_all.py")


@fits(DAG, FLEX)
def spoil_requirements(original: Original) -> Iterator[Planted]:
    named = (original.document.get("environment") or {}).get("python_requirements_txt")
    file = original.beside(named or "requirements.txt")
    if named:
        yield original.change(
            "LL603", "requirements elsewhere", lambda d: d["environment"].update(python_requirements_txt="no.txt")
        )
    if not (original.root / file).is_file():
        return
    for path in sorted((original.root / original.path).parent.glob("*.py")):
        name = original.beside(path.name)
        yield original.rewrite("LL601", f"{name} imports redis", name, _import("redis", original.text(name)))
        yield original.rewrite("LL602", f"{name} imports ?", name, _import("some_thing_unheard", original.text(name)))


def _import(module: str, text: str) -> str:
    if "from __future__" in text:
        return re.sub(r"(?m)^(from __future__.*)$", rf"\1\nimport {module}", text, count=1)
    return f"import {module}\n{text}"


@fits(FLEX)
def spoil_entries(original: Original) -> Iterator[Planted]:
    entry = original.document["entry"]
    module, _, name = entry.partition(":")
    yield original.change("LL501", "no such module", _set("entry", f"{module}x:{name}"))
    yield original.change("LL502", "no such name", _set("entry", f"{module}:{name}x"))
    yield original.change("LL507", "no colon", _set("entry", entry.replace(":", ".")))
    inputs = original.document.get("inputs") or {}
    for given in inputs:
        wrong = {"type": "text"}
        yield original.change("LL503", f"{given}_", _rename_key("inputs", given, new=f"{given}_"))
        yield original.change("LL114", f"{given} of type text", _put("inputs", given, value=wrong))
    if len(inputs) > 1:
        yield original.change("LL504", "one left out", lambda d: d["inputs"].pop(next(iter(d["inputs"]))))


@fits(PROMPTY)
def spoil_prompty(original: Original) -> Iterator[Planted]:
    text, path = original.text(original.path), original.path
    head, body = text.split("\n---\n", 1)
    front = yaml.safe_load(head.removeprefix("---"))

    def changed(code: str, what: str, mutate: Change) -> Planted:
        edited = copy.deepcopy(front)
        mutate(edited)
        return original.rewrite(code, what, path, f"---\n{yaml.safe_dump(edited, sort_keys=False)}---\n{body}")

    yield original.rewrite("LL001", "no front matter", path, body)
    yield original.rewrite("LL001", "broken front matter", path, f"---\nname: [\n---\n{body}")
    yield original.rewrite("LL301", "open block", path, text + "{% for x in y %}")
    yield original.rewrite("LL302", "a new variable", path, text + "{{ new_one }}")
    yield original.rewrite("LL304", "an include", path, text + "{% include 'x' %}")
    yield original.rewrite("LL701", "a key", path, text + "\n" + "AKIA" + "Q7JX2ZP4L9WK3M5T" + "\n")
    yield changed("LL505", "no model", _drop("model"))
    yield changed("LL505", "no configuration", lambda d: d["model"].pop("configuration"))
    yield changed("LL505", "another api", lambda d: d["model"].update(api="chatty"))
    yield changed("LL303", "one too many", lambda d: d["inputs"].update(extra={"type": "string"}))
    for name in front["inputs"]:
        yield changed("LL302", f"no {name}", _pop("inputs", name))
    if "sample" in front:
        yield changed("LL506", "another sample", lambda d: d["sample"].update(other=1))
