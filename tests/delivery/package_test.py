"""Packages are verified from their bytes: one changed byte anywhere is enough to be refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from llmops.delivery.package import read_proof, verify_package
from llmops.errors import UsageError
from tests.commands.shop import Shop

MUTATIONS = 500


def test_one_changed_byte_of_package_manifest_or_verdict_is_refused_by_deploy_and_promote(shop: Shop) -> None:
    shop.register()
    assert shop.deploy() == 0
    before = shop.backend.see("tiny-dev")
    (package,) = shop.packages()
    files = sorted(path for path in package.rglob("*") if path.is_file())
    assert {path.name for path in files} == {"manifest.json", "verdict.json", "answer.py", "flow.dag.yaml"}
    chance = random.Random(7)
    for number in range(MUTATIONS):
        path = files[number % len(files)]
        _mutate(path, chance)
        for command in (shop.deploy, shop.promote):
            with pytest.raises(UsageError):
                command()
        path.write_bytes(_original(path))
    assert shop.backend.see("tiny-dev") == before
    assert shop.backend.see("tiny-prod") is None
    assert shop.promote() == 0


def test_a_changed_byte_of_attached_evidence_is_refused(shop: Shop) -> None:
    shop.register()
    shop.project.rows(*(f"other {number}" for number in range(20)))
    shop.check()
    shop.register()
    ((digest, content),) = shop.backend.documents.items()
    shop.backend.documents[digest] = content.replace(b'"pass"', b'"Pass"', 1)
    with pytest.raises(UsageError, match="was changed"):
        shop.deploy()


@pytest.mark.parametrize("name", ["more.py", "flow/flows/answer/__pycache__/x.pyc"])
def test_a_file_that_does_not_belong_to_the_package_is_refused(shop: Shop, name: str) -> None:
    shop.register()
    (package,) = shop.packages()
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / name).write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="a file that does not belong to the package"):
        verify_package(package)


def test_a_verdict_whose_outcome_does_not_follow_from_its_findings_is_refused(shop: Shop) -> None:
    (path,) = (shop.project.root / ".llmops/verdicts").glob("*.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('"outcome": "pass",\n      "value"', '"outcome": "fail",\n      "value"'), encoding="utf-8"
    )
    with pytest.raises(UsageError, match="a verdict that contradicts its own findings"):
        read_proof(path)


_KEPT: dict[Path, bytes] = {}


def _original(path: Path) -> bytes:
    return _KEPT[path]


def _mutate(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    _KEPT[path] = bytes(content)
    place = chance.randrange(len(content))
    content[place] = (content[place] + chance.randrange(1, 256)) % 256
    path.write_bytes(bytes(content))
