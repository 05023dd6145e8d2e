"""Every rule, read from `tables/rules.yaml`.

`python -m llmops.flows.lint.rules` rewrites the tables of `docs/lint.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

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


def with_rule_table(page: str) -> str:
    """Replace what stands between `<!-- rules -->` and `<!-- end -->` by the tables of all rules."""
    before, start, rest = page.partition("<!-- rules -->\n")
    return f"{before}{start}{rule_table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


if __name__ == "__main__":
    path = Path("docs/lint.md")
    path.write_text(with_rule_table(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
