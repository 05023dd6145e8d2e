"""Every rule, read from `tables/rules.yaml`; the tables of `docs/lint.md` are generated from it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import yaml

from llmops.flows.lint.finding import Rule

FAMILIES: Mapping[str, str] = {
    "LL0": "Files and suppressions",
    "LL1": "Graph",
    "LL2": "Nodes and tools",
    "LL3": "Prompt templates",
    "LL4": "Variants",
    "LL5": "Flex flows and prompty files",
    "LL6": "Packages",
    "LL7": "Repository",
    "LL8": "Configuration and data",
}
"""First characters of a code to what its rules are about."""

RULES: Mapping[str, Rule] = {
    code: Rule(code=code, **fields)
    for code, fields in yaml.load(
        (files("llmops.flows.lint") / "tables" / "rules.yaml").read_text(encoding="utf-8"),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506 both are safe
    ).items()
}
"""Code to rule, in the order of the codes."""


def rule_table() -> str:
    """Write all rules as Markdown, one table for each family."""
    lines: list[str] = []
    for prefix, family in FAMILIES.items():
        lines += [f"### {family}", "", "| code | | finds | fix |", "| --- | --- | --- | --- |"]
        rules = (rule for code, rule in RULES.items() if code.startswith(prefix))
        lines += [f"| {rule.code} | {rule.severity} | {rule.title} | {_cell(rule.fix)} |" for rule in rules]
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
