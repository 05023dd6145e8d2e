"""Write the data set of the web classification example: rows, a smoke subset and the snapshots of their pages.

Pages are composed of sentences from `phrases/`, with slots filled from `slots.json`, and joined by those of
`by-hand.jsonl`. Each page has a difficulty:

- plain: five sentences of its category, one that any page may have, an address that fits;
- thin: two sentences of its category and two that any page may have;
- hard: three sentences of its category among two of another, an address that tells nothing.

The same seed gives the same bytes. A page that shares too many word 5-grams with an earlier one is drawn again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SEED = 20240229
CATEGORIES = ("Movie", "App", "Academic", "Channel", "Profile", "PDF", "None")
PAGES_PER_DIFFICULTY = {"plain": 12, "thin": 6, "hard": 7}
SMOKE_ROWS = 20
MOST_OVERLAP = 0.5
_TRIES = 200
_SLOT = re.compile(r"\{(\w+)\}")

# Which categories a page is easily mistaken for: a hard page holds sentences of one of these.
CONFUSED_WITH = {
    "Movie": ("Channel", "None", "Profile"),
    "App": ("None", "Channel", "PDF"),
    "Academic": ("PDF", "Profile", "Channel"),
    "Channel": ("Movie", "Profile", "App"),
    "Profile": ("Academic", "Channel", "None"),
    "PDF": ("Academic", "None", "App"),
    "None": ("Movie", "App", "Profile", "Academic"),
}
ADDRESSES = {
    "Movie": ("reelguide.example/title/{n}", "{a}-{b}.example/films/{c}", "kinoboard.example/now-showing/{c}-{b}"),
    "App": ("storefront.example/apps/details?id={a}.{b}", "get-{a}.example/download/{b}", "softshelf.example/{a}/{b}"),
    "Academic": ("journals.example/doi/10.{n}/{b}", "preprints.example/abs/{n}", "{a}-university.example/dept/{b}/{c}"),
    "Channel": ("vidbox.example/channel/{a}{b}", "streamly.example/@{a}-{c}", "podhub.example/show/{b}/{c}"),
    "Profile": ("worklink.example/in/{a}-{c}", "{a}.example/about-me/{b}", "circle.example/people/{a}-{b}"),
    "PDF": ("{a}.example/files/{b}-{c}.pdf", "docs.{a}.example/{n}.pdf", "{b}.example/wp-content/{n}/{c}.pdf"),
    "None": ("{a}{b}.example/{c}", "www.{a}-{b}.example/{c}/{n}", "shop-{a}.example/item/{b}-{n}"),
}
NEUTRAL_ADDRESSES = ("{a}{b}.example/p/{n}", "www.{b}{c}.example/{n}", "{c}-{a}.example/view/{n}")
ADDRESS_WORDS = (
    "amber", "birch", "cobalt", "dune", "ember", "fjord", "grove", "heron", "inlet", "juniper", "kestrel", "lantern",
    "maple", "nimbus", "otter", "pebble", "quartz", "raven", "sable", "thistle", "umber", "velvet", "willow", "zephyr",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page with its ground truth."""

    url: str
    answer: str
    language: str
    difficulty: str
    text: str


class Deck:
    """Deals sentences in random order and starts again only when all have been dealt."""

    def __init__(self, cards: Sequence[str], draw: random.Random) -> None:
        self._cards = list(cards)
        self._draw = draw
        self._left: list[str] = []

    def deal(self, count: int) -> list[str]:
        """Deal that many different cards."""
        dealt: list[str] = []
        while len(dealt) < count:
            if not self._left:
                self._left = self._draw.sample(self._cards, len(self._cards))
            card = self._left.pop()
            if card not in dealt:
                dealt.append(card)
        return dealt


class Writer:
    """Composes pages; everything random comes from one generator."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._slots: Mapping[str, list[str]] = json.loads((HERE / "slots.json").read_text(encoding="utf-8"))
        names = (*CATEGORIES, "shared")
        self._decks = {name: Deck(_read_phrases(name), draw) for name in names}

    def write(self, category: str, difficulty: str) -> Page:
        """Compose one page."""
        own, other, shared = {"plain": (5, 0, 1), "thin": (2, 0, 2), "hard": (3, 2, 1)}[difficulty]
        mistaken_for = self._draw.choice(CONFUSED_WITH[category])
        phrases = [
            *self._decks[category].deal(own),
            *self._decks[mistaken_for].deal(other),
            *self._decks["shared"].deal(shared),
        ]
        self._draw.shuffle(phrases)
        addresses = NEUTRAL_ADDRESSES if difficulty == "hard" else ADDRESSES[category]
        return Page(
            url=self._address(self._draw.choice(addresses)),
            answer=category,
            language="en",
            difficulty=difficulty,
            text=" ".join(self._fill(phrase) for phrase in phrases),
        )

    def _fill(self, phrase: str) -> str:
        return _SLOT.sub(lambda match: self._slot(match[1]), phrase)

    def _slot(self, name: str) -> str:
        numbers = {"digit": (2, 9), "number": (11, 98), "year": (1981, 2023)}
        return str(self._draw.randint(*numbers[name])) if name in numbers else self._draw.choice(self._slots[name])

    def _address(self, pattern: str) -> str:
        a, b, c = self._draw.sample(ADDRESS_WORDS, 3)
        return "https://" + pattern.format(a=a, b=b, c=c, n=self._draw.randint(1000, 99999))


def word_five_grams(text: str) -> frozenset[tuple[str, ...]]:
    """The set of runs of five words of a text, in lower case."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def overlap(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Share of the smaller set that is in both, 0 to 1."""
    return len(one & other) / max(1, min(len(one), len(other)))


def compose_pages(draw: random.Random) -> list[Page]:
    """Compose all pages and add those written by hand, in random order."""
    by_hand = [Page(**json.loads(line)) for line in _read_lines(HERE / "by-hand.jsonl")]
    writer = Writer(draw)
    pages = list(by_hand)
    grams = [word_five_grams(page.text) for page in pages]
    for category in CATEGORIES:
        for difficulty, count in PAGES_PER_DIFFICULTY.items():
            for _ in range(count):
                page = _write_apart(writer, category, difficulty, grams, {page.url for page in pages})
                pages.append(page)
                grams.append(word_five_grams(page.text))
    draw.shuffle(pages)
    return pages


def _write_apart(
    writer: Writer, category: str, difficulty: str, grams: Sequence[frozenset[tuple[str, ...]]], urls: set[str]
) -> Page:
    for _ in range(_TRIES):
        page = writer.write(category, difficulty)
        own = word_five_grams(page.text)
        if page.url not in urls and all(overlap(own, other) <= MOST_OVERLAP for other in grams):
            return page
    raise SystemExit(f"{category}, {difficulty}: every page is too like another; add phrases")


def pick_smoke(rows: Sequence[Mapping[str, str]], draw: random.Random) -> list[Mapping[str, str]]:
    """Pick two or three rows of each category, in the order of the full set."""
    piles = {name: draw.sample([r for r in rows if r["answer"] == name], SMOKE_ROWS) for name in CATEGORIES}
    ids = {piles[CATEGORIES[i % len(CATEGORIES)]].pop()["id"] for i in range(SMOKE_ROWS)}
    return [row for row in rows if row["id"] in ids]


def _read_phrases(name: str) -> list[str]:
    return _read_lines(HERE / "phrases" / f"{name.lower()}.txt")


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _write_lines(path: Path, documents: Iterable[Mapping[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    path.write_bytes(text.encode("utf-8"))


def main(argv: Sequence[str] | None = None) -> int:
    """Write `full.jsonl`, `smoke.jsonl` and the flow's `pages.jsonl` below the repository, or below `--output`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY, help="root to write below; the repository by default"
    )
    root = parser.parse_args(argv).output
    draw = random.Random(SEED)
    pages = compose_pages(draw)
    rows = [
        {"id": f"w{number:03}", **{key: value for key, value in asdict(page).items() if key != "text"}}
        for number, page in enumerate(pages, start=1)
    ]
    _write_lines(root / "data/web-classification/full.jsonl", rows)
    _write_lines(root / "data/web-classification/smoke.jsonl", pick_smoke(rows, draw))
    snapshots = sorted(({"url": page.url, "text": page.text} for page in pages), key=lambda snapshot: snapshot["url"])
    _write_lines(root / "flows/web-classification/pages.jsonl", snapshots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
