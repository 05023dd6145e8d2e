from __future__ import annotations

import pytest

from llmops.flows.imports import ImportedName, could_import, find_imports, make_absolute


def test_imports_are_found_in_every_block() -> None:
    source = b"""
import a.b as c, d
if x:
    from e import f, g
class K:
    def m(self):
        from .. import h
"""
    assert set(find_imports(source)) == {
        ImportedName(module="a.b"),
        ImportedName(module="d"),
        ImportedName(module="e", name="f"),
        ImportedName(module="e", name="g"),
        ImportedName(module="", name="h", level=2),
    }


def test_dynamic_imports_of_a_literal_are_found() -> None:
    source = b"x = import_module('a.b')\ny = importlib.import_module('.c', __package__)\nz = import_module(name)\n"
    assert set(find_imports(source)) == {ImportedName(module="a.b"), ImportedName(module="c", level=1)}


def test_an_invalid_escape_in_a_users_file_warns_nobody() -> None:
    assert find_imports(b"import a\nx = '\\d'\n") == [ImportedName(module="a")]


@pytest.mark.parametrize(
    ("module", "level", "package", "expected"),
    [("a.b", 0, "p", "a.b"), ("a", 1, "p.q", "p.q.a"), ("", 2, "p.q", "p"), ("a", 3, "p.q", None), ("a", 1, "", None)],
)
def test_dots_are_resolved_against_the_package(module: str, level: int, package: str, expected: str | None) -> None:
    assert make_absolute(ImportedName(module=module, level=level), package) == expected


def test_only_files_that_name_a_local_module_need_parsing() -> None:
    assert could_import(b"from texts import x", ["texts"])
    assert not could_import(b"from texts2 import x", ["texts"])
    assert not could_import(b"texts = 1", ["texts"])
    assert not could_import(b"import x", [])
