from __future__ import annotations

from pathlib import Path

import pytest

from llmops.config.document import MAX_NODES, Document, dotted, parse_document, read_document


def messages(document: Document) -> list[str]:
    return [str(problem) for problem in document.sorted_problems()]


def test_value_knows_its_line() -> None:
    document = parse_document("a: 1\nb:\n  - x\n  - c: 2\n", "f.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.place(("b", 1, "c")) == "f.yaml:4: b[1].c"


def test_missing_value_takes_the_line_around_it() -> None:
    assert parse_document("a: 1\nb:\n  c: 2\n", "f.yaml").place(("b", "d")) == "f.yaml:2: b.d"


def test_path_is_written_as_people_do() -> None:
    assert dotted(("gate", "thresholds", 1, "metric")) == "gate.thresholds[1].metric"


def test_merge_keys_and_anchors_are_expanded() -> None:
    text = "base: &base\n  x: 1\n  y: 2\nmore:\n  <<: *base\n  y: 3\nagain: *base\n"
    document = parse_document(text, "f.yaml")
    assert document.value == {"base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}, "again": {"x": 1, "y": 2}}
    assert messages(document) == []


def test_alias_of_a_mapping_with_merge_keys_has_no_duplicates() -> None:
    text = "a: &a {x: 1}\nb: &b\n  <<: *a\n  x: 2\nc: *b\n"
    assert messages(parse_document(text, "f.yaml")) == []


def test_key_given_twice_is_a_problem() -> None:
    assert messages(parse_document("a:\n  b: 1\n  c: 2\n  b: 3\n", "f.yaml")) == [
        "f.yaml:4: a.b: key given twice\n  found first on line 2"
    ]


def test_keys_are_text_as_they_are_written() -> None:
    assert parse_document("1: a\non: b\n", "f.yaml").value == {"1": "a", "on": "b"}


def test_key_that_is_a_mapping_is_a_problem() -> None:
    assert messages(parse_document("a: 1\n? {b: 1}\n: 2\n", "f.yaml")) == [
        "f.yaml:1: a key that is not text\n  Put the key in quotes."
    ]


def test_date_is_text_as_it_is_written() -> None:
    assert parse_document("api_version: 2024-10-21\n", "f.yaml").value == {"api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: empty file\n  expected a mapping"),
        ("# nothing\n", "f.yaml: empty file\n  expected a mapping"),
        ("a: 1\nb: [1\n", "f.yaml:3:1: not valid YAML\n  found while parsing a flow sequence, did not find expected ',' or ']'"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: not valid YAML\n  found a tab\n  Indent with spaces."),
        ("a: b: c\n", "f.yaml:1:5: not valid YAML\n  found mapping values are not allowed in this context"),
        ("a: *x\n", "f.yaml:1:4: not valid YAML\n  found undefined alias"),
        ("a: 1\n---\nb: 1\n", "f.yaml:2:1: not valid YAML\n  found expected a single document in the stream, but found another document"),
        ("a: &a [*a]\n", "f.yaml:1:4: not valid YAML\n  found an alias that contains itself"),
        ("a: !python/name:os.system x\n", "f.yaml:1: a: not a value that YAML defines\n  found could not determine a constructor for the tag '!python/name:os.system'"),
        ("a: .nan\n", "f.yaml:1: a: not a finite number\n  found .nan"),
        ("a: !!binary aGk=\n", "f.yaml:1: a: not a plain value\n  found tag:yaml.org,2002:binary\n  expected text, a number, true, false or null"),
        ("a: b\x07\n", "f.yaml:1: a character that YAML forbids\n  found control characters are not allowed"),
        ("a: " + "[" * 3000 + "]" * 3000, "f.yaml: nested too deeply"),
    ],
)  # fmt: skip
def test_broken_yaml_says_where(text: str, message: str) -> None:
    assert messages(parse_document(text, "f.yaml")) == [message]


def test_syntax_error_does_not_show_the_line_that_may_hold_a_secret() -> None:
    assert "hunter2" not in messages(parse_document("api_key: 'hunter2\n", "f.yaml"))[0]


def test_aliases_that_multiply_are_refused() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 8))
    found = messages(parse_document("l0: &l0 [1]\n" + levels, "f.yaml"))
    assert found == ["f.yaml:1:5: not valid YAML\n  found too many values after aliases are expanded"]
    assert MAX_NODES == 100_000


def test_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_document(path, "f.yaml").value == {"a": 1}


def test_file_that_is_not_utf_8_names_byte_and_line(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    assert messages(read_document(path, "f.yaml")) == [
        "f.yaml:2: not UTF-8\n  found byte 0xe9 at offset 11\n  Save the file as UTF-8."
    ]


def test_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert messages(read_document(tmp_path, "f.yaml")) == ["f.yaml: cannot read the file\n  found Is a directory"]
