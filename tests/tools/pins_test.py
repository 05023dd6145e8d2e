"""What `make pins` says of newer releases; that it tries them is seen by running it, for it needs a registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.pins import GROUPS, Found, main, render


def test_every_package_of_the_extra_is_tried(root: Path) -> None:
    text = (root / "pyproject.toml").read_text(encoding="utf-8").partition("\nazure = [")[2].partition("\n]")[0]
    names = set(re.findall(r'"([a-z-]+)', text))
    assert names <= {package for packages in GROUPS.values() for package in packages}


def test_the_table_tells_new_from_same_and_good_from_bad() -> None:
    same = Found(group="a", pinned={"a": "1.0"}, newest={"a": "1.0"})
    good = Found(group="b", pinned={"b": "1.0"}, newest={"b": "2.0"}, imports=True, passes=True)
    bad = Found(group="c", pinned={"c": "1.0"}, newest={"c": "2.0"}, imports=False, reason="no module")
    assert render([same, good, bad]).splitlines()[2:] == [
        "| a | 1.0 | the same |  |  |",
        "| b | 1.0 | 2.0 | yes | yes |",
        "| c | 1.0 | 2.0 | **no** | : no module |",
    ]


def test_a_group_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing"])
    assert ended.value.code == 2
    assert "no group nothing" in capsys.readouterr().err
