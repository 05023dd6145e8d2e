from __future__ import annotations

import ast
from pathlib import Path


def patches_in(path: Path) -> list[str]:
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    functions = (call.func for call in calls)
    return [
        f"{path.name}:{function.lineno}: {function.value.id}.{function.attr}"
        for function in functions
        if isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in {"monkeypatch", "mp"}
        and function.attr in {"setattr", "delattr", "setitem", "delitem"}
    ]


def test_no_test_patches_code(root: Path) -> None:
    assert [patch for path in sorted((root / "tests").rglob("*.py")) for patch in patches_in(path)] == []


def test_a_patch_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "x_test.py"
    path.write_text("def test_x(monkeypatch):\n    monkeypatch.setenv('A', 'b')\n    monkeypatch.setattr('os.x', 1)\n")
    assert patches_in(path) == ["x_test.py:3: monkeypatch.setattr"]
