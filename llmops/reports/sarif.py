"""Findings of lint as SARIF 2.1.0, which code scanning of GitHub and other tools read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from llmops.flows.lint.finding import Finding, Rule

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(findings: Sequence[Finding], rules: Mapping[str, Rule], *, version: str) -> dict[str, Any]:
    """Build a SARIF log with one run.

    Args:
        rules: every rule, so that a reader can also show what was not found.
        version: of llmops.

    Returns:
        A JSON document. Its paths are relative to the project folder; its fingerprints do not depend on lines, so that
        a finding that moved is the same finding.
    """
    index = {code: number for number, code in enumerate(rules)}
    seen: dict[str, int] = {}
    results = [_result(finding, rules[finding.code], index[finding.code], seen) for finding in findings]
    driver = {
        "name": "llmops",
        "version": version,
        "rules": [_rule(rule) for rule in rules.values()],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.title.replace("'", "").split()),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.explanation},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: Finding, rule: Rule, index: int, seen: dict[str, int]) -> dict[str, Any]:
    place = finding.place
    region = {"startLine": place.line, "startColumn": place.column}
    location = {"artifactLocation": {"uri": quote(place.file)}, "region": region}
    name = f"{finding.code}\0{place.file}\0{finding.message}"
    seen[name] = seen.get(name, 0) + 1
    fingerprint = hashlib.sha256(f"{name}\0{seen[name]}".encode()).hexdigest()
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": rule.severity,
        "message": {"text": f"{finding.message}. {finding.fix or rule.fix}"},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"llmops/v1": fingerprint},
    }
