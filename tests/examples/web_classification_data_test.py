"""The example's data: reproducible, varied, and not solvable by looking for a category's name."""

from __future__ import annotations

import collections
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "data/web-classification"
PAGES = REPOSITORY / "flows/web-classification/pages.jsonl"
CATEGORIES = {"Movie", "App", "Academic", "Channel", "Profile", "PDF", "None"}


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROWS = read_lines(DATA / "full.jsonl")
SMOKE = read_lines(DATA / "smoke.jsonl")
TEXTS = {page["url"]: page["text"] for page in read_lines(PAGES)}


def test_generating_again_gives_the_committed_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DATA / "generate.py", "--output", tmp_path], check=True)
    for path in (DATA / "full.jsonl", DATA / "smoke.jsonl", PAGES):
        assert (tmp_path / path.relative_to(REPOSITORY)).read_bytes() == path.read_bytes()


def test_there_are_200_rows_or_more_with_every_category_and_a_text_for_each() -> None:
    counts = collections.Counter(row["answer"] for row in ROWS)
    assert len(ROWS) >= 200
    assert counts.keys() == CATEGORIES
    assert min(counts.values()) >= 25
    assert {row["url"] for row in ROWS} == TEXTS.keys()
    assert len({row["id"] for row in ROWS}) == len(ROWS) == len(TEXTS)


def test_a_tenth_is_not_english_and_a_quarter_is_hard() -> None:
    languages = collections.Counter(row["language"] for row in ROWS)
    assert len(languages) >= 5
    assert len(ROWS) - languages["en"] >= len(ROWS) / 10
    assert sum(row["difficulty"] == "hard" for row in ROWS) >= len(ROWS) / 4


def test_the_smoke_subset_has_20_of_the_rows_and_every_category() -> None:
    rows = {row["id"]: row for row in ROWS}
    assert len(SMOKE) == 20
    assert all(rows[row["id"]] == row for row in SMOKE)
    assert {row["answer"] for row in SMOKE} == CATEGORIES


def test_no_two_pages_share_more_than_60_percent_of_their_word_5_grams() -> None:
    """Shared 5-grams over those of the shorter page."""
    grams = {url: five_grams(text) for url, text in TEXTS.items()}
    assert all(grams.values())
    shares = [len(a & b) / min(len(a), len(b)) for a, b in itertools.combinations(grams.values(), 2)]
    assert max(shares) <= 0.6


@pytest.mark.parametrize("pattern", [r"{0}", r"\b{0}s?\b"])
@pytest.mark.parametrize("look_at", ["url", "text", "both"])
def test_looking_for_a_categorys_name_stays_under_60_percent(pattern: str, look_at: str) -> None:
    right = 0
    for row in ROWS:
        text = {"url": row["url"], "text": TEXTS[row["url"]], "both": row["url"] + " " + TEXTS[row["url"]]}[look_at]
        names = sorted(CATEGORIES - {"None"})
        counts = [len(re.findall(pattern.format(name), text, re.IGNORECASE)) for name in names]
        right += row["answer"] == (names[counts.index(max(counts))] if any(counts) else "None")
    assert right / len(ROWS) < 0.6


def five_grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
