from __future__ import annotations

from pathlib import Path

import pytest

from llmops.config.data import describe
from llmops.config.images import image_paths, with_content, with_digests, with_places
from llmops.errors import UsageError

ROW = {"text": "red.png", "seen": [{"data:image/png;path": "red.png"}, {"data:image/png;url": "http://x/red.png"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "red.png").write_bytes(b"red")
    (tmp_path / "rows.jsonl").write_text('{"picture": {"data:image/png;path": "red.png"}}\n', "utf-8")
    return tmp_path


def test_only_images_that_are_named_by_path_are_found() -> None:
    assert list(image_paths(ROW)) == ["red.png"]


def test_a_path_becomes_absolute(folder: Path) -> None:
    assert with_places(ROW, folder)["seen"][0] == {"data:image/png;path": str(folder / "red.png")}
    assert with_places(ROW, folder)["text"] == "red.png"


def test_a_path_that_leads_nowhere_is_left_to_the_flow(tmp_path: Path) -> None:
    assert with_places(ROW, tmp_path) == ROW


def test_an_image_can_be_sent_along(folder: Path) -> None:
    assert with_content(ROW, folder)["seen"][0] == {"data:image/png;base64": "cmVk"}


def test_equal_digests_mean_equal_images(folder: Path) -> None:
    before = with_digests(ROW, folder)
    (folder / "red.png").write_bytes(b"another red")
    assert with_digests(ROW, folder) != before


def test_the_digest_of_a_data_set_covers_its_images(folder: Path) -> None:
    before = describe(folder / "rows.jsonl").digest
    (folder / "red.png").write_bytes(b"another red")
    assert describe(folder / "rows.jsonl").digest != before


def test_an_image_that_is_missing_is_found_before_the_first_row(folder: Path) -> None:
    (folder / "red.png").unlink()
    with pytest.raises(UsageError) as caught:
        describe(folder / "rows.jsonl", label="rows.jsonl")
    assert str(caught.value).startswith("rows.jsonl:1: cannot read an image")
    assert "found 'red.png': No such file or directory" in str(caught.value)
