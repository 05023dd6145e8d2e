"""Fetch the text of a page: from the shipped snapshots, else over the network."""

import functools
import json
import re
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

from promptflow.core import tool

SNAPSHOTS = Path(__file__).with_name("pages.jsonl")
LONGEST_TEXT = 4000
LARGEST_PAGE_BYTES = 2_000_000
TIMEOUT_S = 10


class PageUnavailable(Exception):
    """The page has no snapshot, and fetching it gave no text."""


@tool
def fetch_text_content_from_url(url: str) -> str:
    """Return the text of a page, at most 4000 characters; never an empty one.

    Raises:
        PageUnavailable: there is no snapshot, and the network did not answer or answered without text.
    """
    text = read_snapshots().get(url) or fetch_page(url)
    return text[:LONGEST_TEXT]


@functools.lru_cache(maxsize=1)
def read_snapshots() -> dict[str, str]:
    """Read all snapshots, address to text."""
    with SNAPSHOTS.open(encoding="utf-8") as lines:
        return {page["url"]: page["text"] for page in map(json.loads, lines)}


def fetch_page(url: str) -> str:
    """Fetch a page over HTTP and return its visible text."""
    if not url.startswith(("http://", "https://")):
        raise PageUnavailable(f"'{url}' has no snapshot in {SNAPSHOTS.name} and is not an http address")
    request = urllib.request.Request(url, headers={"User-Agent": "web-classification-example"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            kind, charset = response.headers.get_content_type(), response.headers.get_content_charset() or "utf-8"
            body = response.read(LARGEST_PAGE_BYTES)
    except (OSError, ValueError) as error:
        raise PageUnavailable(
            f"'{url}' has no snapshot in {SNAPSHOTS.name}, and the network did not answer: {error}"
        ) from error
    if not kind.startswith("text/"):
        raise PageUnavailable(f"'{url}' has no snapshot in {SNAPSHOTS.name}, and is {kind}, which has no text to read")
    text = extract_text(body.decode(charset, "replace"))
    if not text:
        raise PageUnavailable(f"'{url}' has no snapshot in {SNAPSHOTS.name}, and the page has no text")
    return text


def extract_text(page: str) -> str:
    """Return what a reader sees of an HTML page, with single spaces."""
    parser = _TextParser()
    parser.feed(page)
    parser.close()
    return re.sub(r"\s+", " ", " ".join(parser.parts)).strip()


class _TextParser(HTMLParser):
    """Collects text outside of scripts and styles."""

    _UNSEEN = frozenset({"script", "style", "noscript", "template"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in self._UNSEEN

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in self._UNSEEN and self._unseen > 0

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data)
