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


def hidden_properties_in(path: Path) -> list[str]:
    """Find tests that check a property inside of them and do not say so: `make explore` goes by the marker."""
    tests = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef))
    return [
        f"{path.name}:{test.lineno}: {test.name}"
        for test in tests
        if not {"pytest.mark.hypothesis", "given"} & {_name(decorator) for decorator in test.decorator_list}
        for inner in ast.walk(test)
        if isinstance(inner, ast.FunctionDef) and "given" in {_name(decorator) for decorator in inner.decorator_list}
    ]


def _name(decorator: ast.expr) -> str:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


def test_every_property_is_explored(root: Path) -> None:
    assert [found for path in sorted((root / "tests").rglob("*_test.py")) for found in hidden_properties_in(path)] == []


def test_a_hidden_property_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "x_test.py"
    text = "def test_x(rows):\n    @given(rows)\n    def check(row):\n        assert row\n    check()\n"
    path.write_text(f"{text}\n\n@pytest.mark.hypothesis\n{text}\n")
    assert hidden_properties_in(path) == ["x_test.py:1: test_x"]
