"""A verdict without what its rows say."""

from __future__ import annotations

import dataclasses
import json

from llmops.core.documents import to_json
from llmops.reports import console, html, junit, markdown
from llmops.reports.redaction import redact
from tests.reports.verdicts import build_row, build_side, failed_verdict

CARD = "4929-1111"


def test_no_report_holds_what_a_row_said() -> None:
    side = dataclasses.replace(build_side(CARD), error=CARD)
    row = build_row(3, side, side, change="regressed", inputs={"card": CARD, CARD: 1})
    verdict = redact(failed_verdict(worst=(row,), flipped=(row,)))
    shown = [json.dumps(to_json(verdict)), markdown.render(verdict), html.render(verdict), junit.render(verdict)]
    assert [CARD in text for text in (*shown, console.render(verdict, width=200, color=False))] == [False] * 5
    assert "Row 3" in markdown.render(verdict)


def test_redacting_twice_is_redacting_once() -> None:
    once = redact(failed_verdict())
    assert redact(once) == once
