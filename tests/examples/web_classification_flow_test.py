"""The example with the stand-in: in a useful range of accuracy, and really worse with a worse prompt.

The prompts are those of the flow, rendered as the LLM tool does; the model's answers are computed without HTTP, which
`tests/engine/standin/server_test.py` covers.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import types
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import jinja2
import pytest
from jinja2.sandbox import SandboxedEnvironment

from llmops.engine.standin.model import answer
from llmops.engine.standin.prompt import Message

REPOSITORY = Path(__file__).parents[2]
FLOW = REPOSITORY / "flows/web-classification"
ROLES = re.compile(r"^# (system|user):\n", re.MULTILINE)
LOOP = re.compile(r"{% for .*?{% endfor %}\n", re.DOTALL)
Edit = Callable[[str], str]


def load(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FETCH = load(FLOW / "fetch_text_content_from_url.py")
CONVERT = load(FLOW / "convert_to_dict.py")
EXAMPLES = load(FLOW / "prepare_examples.py").prepare_examples()


def read_rows(name: str) -> list[dict[str, str]]:
    lines = (REPOSITORY / f"data/web-classification/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@functools.lru_cache
def compile_template(template: str) -> jinja2.Template:
    return SandboxedEnvironment(trim_blocks=True, keep_trailing_newline=True).from_string(template)


def ask(template: str, **values: object) -> str:
    text = compile_template(template).render(**values)
    parts = ROLES.split(text)[1:]
    return answer(
        tuple(Message(role=role, text=body.strip()) for role, body in zip(parts[::2], parts[1::2], strict=True))
    )


def classify(
    name: str, *, variant: str = "", edit: Edit = str, cut: int = 9999, rename: Edit = str
) -> list[tuple[str, str]]:
    """Run the flow's nodes over a data set; return the expected and the found category of each row."""
    summarise = (FLOW / f"summarize_text_content{variant}.jinja2").read_text(encoding="utf-8")
    prompt = rename(edit((FLOW / "classify_with_llm.jinja2").read_text(encoding="utf-8")))
    examples = [{**example, "category": rename(example["category"])} for example in EXAMPLES]
    pairs = []
    for row in read_rows(name):
        summary = ask(summarise, text=FETCH.read_snapshots()[row["url"]][:cut])
        reply = ask(prompt, url=row["url"], text_content=summary, examples=examples)
        pairs.append((rename(row["answer"]), CONVERT.convert_to_dict(reply)["category"]))
    return pairs


def accuracy(pairs: list[tuple[str, str]]) -> float:
    return sum(expected == found for expected, found in pairs) / len(pairs)


@pytest.fixture(scope="module")
def full() -> list[tuple[str, str]]:
    return classify("full")


@pytest.fixture(scope="module")
def smoke() -> list[tuple[str, str]]:
    return classify("smoke")


def test_accuracy_is_good_but_not_perfect(full: list[tuple[str, str]], smoke: list[tuple[str, str]]) -> None:
    assert 0.70 <= accuracy(full) <= 0.95
    assert 0.70 <= accuracy(smoke) <= 0.95


def test_removing_the_examples_costs_ten_points_and_flips_smoke_rows(
    full: list[tuple[str, str]], smoke: list[tuple[str, str]]
) -> None:
    without = classify("full", edit=lambda prompt: LOOP.sub("", prompt))
    assert accuracy(full) - accuracy(without) >= 0.10
    flips = sum(
        a == b != c for (a, b), (_, c) in zip(smoke, classify("smoke", edit=lambda p: LOOP.sub("", p)), strict=True)
    )
    assert flips >= 3


def test_dropping_a_category_loses_its_rows(full: list[tuple[str, str]]) -> None:
    without = classify("full", edit=lambda prompt: prompt.replace("- Channel: a series of videos or episodes\n", ""))
    assert "Channel" not in {found for _, found in without}
    assert accuracy(without) < accuracy(full)


def test_cutting_the_text_costs_accuracy(full: list[tuple[str, str]]) -> None:
    assert accuracy(full) - accuracy(classify("full", cut=60)) >= 0.10


def test_the_shorter_summary_is_worth_less(full: list[tuple[str, str]]) -> None:
    assert accuracy(classify("full", variant="__variant_1")) < accuracy(full)


def test_with_made_up_names_for_the_categories_it_works_as_well() -> None:
    names = dict(
        zip(
            ["Movie", "App", "Academic", "Channel", "Profile", "PDF", "None"],
            ["dax", "wug", "blick", "toma", "zorp", "fep", "lum"],
            strict=True,
        )
    )
    pattern = re.compile(rf"\b(?:{'|'.join(names)})\b")
    pairs = classify("full", rename=lambda text: pattern.sub(lambda match: names[match[0]], text))
    assert {found for _, found in pairs} == set(names.values())
    assert accuracy(pairs) >= 0.70


def test_the_few_shot_examples_are_not_pages_of_the_data_set() -> None:
    assert not {example["url"] for example in EXAMPLES} & FETCH.read_snapshots().keys()
    assert {example["category"] for example in EXAMPLES} == {row["answer"] for row in read_rows("full")}


def test_a_page_with_neither_snapshot_nor_network_is_an_error_that_says_both() -> None:
    with pytest.raises(FETCH.PageUnavailable) as error:
        FETCH.fetch_text_content_from_url("http://127.0.0.1:9/missing")
    assert "'http://127.0.0.1:9/missing' has no snapshot in pages.jsonl, and the network did not answer" in str(
        error.value
    )


def test_an_address_that_is_not_http_is_never_opened() -> None:
    with pytest.raises(FETCH.PageUnavailable, match="is not an http address"):
        FETCH.fetch_text_content_from_url((FLOW / "flow.dag.yaml").as_uri())


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("text/html; charset=utf-8", "<title>Fähre</title><script>no</script><p>um  zehn</p>", "Fähre um zehn"),
        ("text/html", "<script>only()</script>", "the page has no text"),
        ("image/png", "x", "is image/png, which has no text to read"),
    ],
)
def test_a_page_without_a_snapshot_is_fetched_as_text(kind: str, body: str, expected: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.handle_request).start()
        try:
            found = FETCH.fetch_text_content_from_url(f"http://127.0.0.1:{server.server_port}/")
        except FETCH.PageUnavailable as error:
            found = str(error)
    assert expected in found


def test_an_answer_in_a_markdown_fence_is_read() -> None:
    assert CONVERT.convert_to_dict('```json\n{"category": "App"}\n```') == {"category": "App", "evidence": ""}


@pytest.mark.parametrize("reply", ["App", "{}", "[1]", '{"category": ""}', ""])
def test_an_answer_without_a_category_is_an_error_not_a_category(reply: str) -> None:
    with pytest.raises(ValueError, match="the model's answer"):
        CONVERT.convert_to_dict(reply)
