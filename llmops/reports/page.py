"""Self-contained HTML pages.

A page loads nothing: style and script are inline and a content security policy names their digests, so that no other
script runs even if one got in. Every value is escaped by the template engine, after `reveal` has made what cannot be
seen visible. There is no data inside of a script: it reads the page.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from llmops.reports.numbers import format_difference, format_interval, format_number
from llmops.reports.plain_text import reveal

STYLE = "report.css"
_TEMPLATES = Path(__file__).parent / "templates"
_UTC_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)\S*(?:Z|\+00:00)$")


def render_page(template: str, *, script: str, **values: Any) -> str:
    """Render a template with the house's style and one script.

    Args:
        template, script: names of files in `templates/`.
        values: what the template names; every text in them is escaped.
    """
    style_text, script_text = _read(STYLE), _read(script)
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style_text),  # noqa: S704 - our own file
            script=Markup(script_text),  # noqa: S704 - our own file
            policy=_policy(style_text, script_text),
            **values,
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {"number": format_number, "difference": format_difference, "interval": format_interval}
    return environment


def _finalize(value: Any) -> Any:
    """Make what cannot be seen visible in every text that the templates print."""
    return reveal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_digest, script_digest = (f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {style_digest}; script-src {script_digest}; base-uri 'none'; form-action 'none'"
    )


def readable_time(stamp: str) -> str:
    """Write an ISO 8601 time as `2026-01-05 10:00 UTC`; anything else stays as it is."""
    match = _UTC_TIME.match(stamp)
    return f"{match[1]} {match[2]} UTC" if match else stamp
