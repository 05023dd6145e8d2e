"""`llmops run --estimate`: what a run would use, before it runs; and how that is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.backends.protocols import KeepsLines, RunRequest, Runs
from llmops.config.data import read_rows
from llmops.core.prices import Price, cost_usd, find_price
from llmops.records import RunRecord

BYTES_PER_TOKEN = 4
"""What English text has with common tokenizers; other languages have less."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Tokens and money that a run would use.

    Attributes:
        lines: rows times repeats.
        cached: lines that are there already and cost nothing; single calls that are cached are not taken off.
        prompt_tokens, completion_tokens: over the other lines; None when nothing says.
        cost_usd: None when a price is missing, or the completion tokens are not known.
        prices_as_of: day of the oldest price in use; empty without prices.
        basis: how it is known, one sentence.
    """

    lines: int
    cached: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    prices_as_of: str
    basis: str


def estimate(request: RunRequest, runs: Runs, prices: Mapping[str, Price]) -> Estimate:
    """Estimate a run, from the newest run of the same flow, else from its prompts and rows.

    Args:
        request: as it would run.
        runs: knows the runs of before, and perhaps which lines are there already.
        prices: model to price.
    """
    total = request.dataset.rows * request.repeats
    lines = runs.count_missing(request) if isinstance(runs, KeepsLines) else total
    earlier = [
        record
        for record in runs.list_all()
        if record.flow.path == request.source.ref.path and record.completed and record.tokens and not record.target
    ]
    earlier.sort(key=lambda record: record.dataset.path != request.dataset.path)
    known = _from_run(earlier[0], lines) if earlier else _from_prompts(request, lines)
    prompt, completion, basis = known
    used = [find_price(prices, str(node.get("inputs", {}).get("model", ""))) for node in _model_nodes(request)]
    one = used[0] if used and all(price == used[0] for price in used) else None
    cost = cost_usd(one, prompt, completion) if one and prompt is not None and completion is not None else None
    if earlier and earlier[0].cost_usd is not None:
        cost = earlier[0].cost_usd * lines / earlier[0].completed
    as_of = min((price.as_of for price in prices.values()), default="") if cost is not None else ""
    return Estimate(
        lines=total,
        cached=total - lines,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=cost,
        prices_as_of=as_of,
        basis=basis,
    )


def _from_run(record: RunRecord, lines: int) -> tuple[int | None, int | None, str]:
    per_line = {name: record.tokens.get(name, 0) / record.completed for name in ("prompt", "completion")}
    basis = (
        f"from the run {record.id}: {sum(per_line.values()):.0f} tokens for each of {record.completed} lines "
        f"of '{record.dataset.name}'"
    )
    return round(per_line["prompt"] * lines), round(per_line["completion"] * lines), basis


def _from_prompts(request: RunRequest, lines: int) -> tuple[int | None, int | None, str]:
    """Count the templates and the rows; what earlier nodes put into a prompt is not known before they run."""
    nodes = list(_model_nodes(request))
    if not nodes:
        return None, None, "the flow has not run yet, and no LLM node says what it would ask"
    templates = sum(_template_bytes(request, node) for node in nodes)
    texts = (json.dumps(row.values, ensure_ascii=False) for row in read_rows(request.data))
    rows = sum(len(text.encode("utf-8", "replace")) for text in texts)
    share = lines / (request.dataset.rows * request.repeats)
    prompt = round((templates * lines + rows * request.repeats * share * len(nodes)) / BYTES_PER_TOKEN)
    limits = [node.get("inputs", {}).get("max_tokens") for node in nodes]
    whole = all(type(limit) is int for limit in limits)
    completion = sum(limit for limit in limits if type(limit) is int) * lines if whole else None
    basis = (
        f"counted: prompt templates and rows of {len(nodes)} LLM nodes at {BYTES_PER_TOKEN} bytes per token, without "
        "what earlier nodes add; completions "
        + ("at their max_tokens" if whole else "not known, since not every node has max_tokens")
    )
    return prompt, completion, basis


def _model_nodes(request: RunRequest) -> Iterator[Mapping[str, Any]]:
    """Yield the LLM nodes that would run, each in the variant that is chosen."""
    data, chosen = request.source.flow.data, request.source.ref.variants
    for node in data.get("nodes") or []:
        variants = (data.get("node_variants") or {}).get(node.get("name"))
        if node.get("use_variants") and variants:
            name = chosen.get(node["name"], variants.get("default_variant_id"))
            node = (variants.get("variants") or {}).get(name, {}).get("node", {})  # noqa: PLW2901 the variant is the node
        if node.get("type") == "llm":
            yield node


def _template_bytes(request: RunRequest, node: Mapping[str, Any]) -> int:
    source = request.source.closure.files.get(str((node.get("source") or {}).get("path", "")))
    return sum(map(len, request.source.tree.chunks(source.path))) if source else 0


def describe_estimate(found: Estimate) -> str:
    """Say in a few lines what a run would use, and how that is known."""
    if found.prompt_tokens is None:
        amount = "tokens not known"
    elif found.completion_tokens is None:
        amount = f"about {found.prompt_tokens} prompt tokens, completion tokens not known"
    else:
        total = found.prompt_tokens + found.completion_tokens
        amount = f"about {total} tokens ({found.prompt_tokens} prompt, {found.completion_tokens} completion)"
    money = (
        f"{found.cost_usd:.4f} USD by the prices of {found.prices_as_of}"
        if found.cost_usd is not None
        else "the cost is not known: a price or a count is missing"
    )
    lines = f"{found.lines} lines, {found.cached} of them cached" if found.cached else f"{found.lines} lines"
    return f"{lines}: {amount}; {money}\nHow it is known: {found.basis}. Single calls that are cached cost nothing."
