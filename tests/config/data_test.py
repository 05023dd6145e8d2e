from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from llmops.config.data import DataSummary, describe, read_rows
from llmops.errors import UsageError


def write(tmp_path: Path, raw: bytes, name: str = "d.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(raw)
    return path


def values(path: Path) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path)]


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        describe(path, label=path.name)
    return str(caught.value)


def test_json_lines_become_rows_with_position_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\n  \r\n{"a": "\xc3\xa9\xe2\x80\xa8"}')
    assert list(read_rows(path)) == [(0, 1, {"a": 1}), (1, 4, {"a": "\u00e9\u2028"})]


def test_csv_fields_are_text_and_may_hold_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"x\r\ny, ""z"""\r\n\r\n,2\n', "d.csv")
    assert list(read_rows(path)) == [(0, 2, {"a": "1", "b": 'x\r\ny, "z"'}), (1, 5, {"a": "", "b": "2"})]


def test_csv_field_may_be_larger_than_pythons_limit(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\n" + b"x" * 200_000 + b"\n", "d.csv")
    assert len(str(values(path)[0]["a"])) == 200_000


def test_summary_has_digest_rows_and_columns(tmp_path: Path) -> None:
    raw = b'{"b": 1, "a": 1}\n{"a": 2, "b": 2}\n'
    assert describe(write(tmp_path, raw)) == DataSummary(
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}", rows=2, columns=("b", "a"), lacking={}
    )


def test_column_of_some_rows_names_the_first_line_without_it(tmp_path: Path) -> None:
    summary = describe(write(tmp_path, b'{"a": 1, "b": 1}\n\n{"a": 1, "c": 1}\n{"a": 1}\n'))
    assert summary.columns == ("a",)
    assert summary.lacking == {"b": 3, "c": 1}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{'a': 1}", "d.jsonl:1:2: not valid JSON\n  found Expecting property name enclosed in double quotes"),
        (b'{"a": 1}\n  {"a": 1', "d.jsonl:2:10: not valid JSON\n  found Expecting ',' delimiter"),
        (b'{"a": 1} {"a": 2}', "d.jsonl:1:10: not valid JSON\n  found Extra data"),
        (b'["a"]', "d.jsonl:1: not a JSON object\n  found a list\n  expected an object"),
        (b"1", "d.jsonl:1: not a JSON object\n  found a number\n  expected an object"),
        (b"null", "d.jsonl:1: not a JSON object\n  found null\n  expected an object"),
        (b'{"a": NaN}', "d.jsonl:1: not valid JSON\n  found NaN is not a JSON number"),
        (b'{"a": -Infinity}', "d.jsonl:1: not valid JSON\n  found -Infinity is not a JSON number"),
        (b'{"a": 1e999}', "d.jsonl:1: not valid JSON\n  found 1e999 is too large for a number"),
        (b'{"a": {"b": 1, "b": 2}}', "d.jsonl:1: not valid JSON\n  found the key 'b' is given twice"),
        (b'{"a": "\\ud800"}', "d.jsonl:1: not valid JSON\n  found half a surrogate pair"),
        (b'{"a": ' + b"[" * 100_000, "d.jsonl:1: not valid JSON\n  found too deeply nested"),
        (b'{"a": 1}\n{"a": "caf\xe9"}', "d.jsonl:2: not UTF-8\n  found byte 0xe9 at offset 19\n  Save the file as UTF-8."),
        (b"", "d.jsonl: the data set has no rows\n  expected at least one row"),
        (b"\n \n", "d.jsonl: the data set has no rows\n  expected at least one row"),
    ],
)  # fmt: skip
def test_json_line_that_is_no_row_says_where_and_why(tmp_path: Path, raw: bytes, message: str) -> None:
    assert refusal(write(tmp_path, raw)) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a,b\n1\n", "d.csv:2: wrong number of fields\n  found 1 fields\n  expected 2, as in the first row"),
        (b'a,b\n"x\ny",1\n1,2,3\n', "d.csv:4: wrong number of fields\n  found 3 fields\n  expected 2, as in the first row"),
        (b"a,a\n1,2\n", "d.csv:1: column given twice\n  found 'a'"),
        (b"a,,b\n1,2,3\n", "d.csv:1: column without a name\n  found column 2 of 3"),
        (b'a\n1\n"x\ny\n', "d.csv:3: not valid CSV\n  found unexpected end of data"),
        (b'a\n"x"y\n', "d.csv:2: not valid CSV\n  found ',' expected after '\"'"),
        (b"a\n\xff\n", "d.csv:2: not UTF-8\n  found byte 0xff at offset 2\n  Save the file as UTF-8."),
        (b"\xff\na\n1\n", "d.csv:1: not UTF-8\n  found byte 0xff at offset 0\n  Save the file as UTF-8."),
        (b"a,b\n", "d.csv: the data set has no rows\n  expected at least one row"),
    ],
)  # fmt: skip
def test_csv_that_is_no_table_says_where_and_why(tmp_path: Path, raw: bytes, message: str) -> None:
    assert refusal(write(tmp_path, raw, "d.csv")) == message


def test_all_bad_lines_are_reported_up_to_twenty(tmp_path: Path) -> None:
    lines = refusal(write(tmp_path, b'{"a": 1}\n' + b"[]\n" * 25)).splitlines()
    assert [line for line in lines if "not a JSON object" in line] == [
        f"d.jsonl:{n}: not a JSON object" for n in range(2, 22)
    ]
    assert lines[-1] == "d.jsonl: and 5 more"


def test_reading_stops_at_the_first_bad_line(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, b'{"a": 1}\n[]\n'), label="data/d.jsonl")
    assert next(rows).values == {"a": 1}
    with pytest.raises(UsageError, match=r"^data/d\.jsonl:2: not a JSON object\n"):
        next(rows)


def test_reading_no_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the data set has no rows"):
        list(read_rows(write(tmp_path, b"\n")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.jsonl", "no such data file"),
        ("folder", "a folder is not a data set\n  expected a '.jsonl' or '.csv' file"),
        ("d.parquet", "unknown data format\n  found '.parquet'\n  expected '.jsonl' or '.csv'"),
        ("d", "unknown data format\n  found no file extension\n  expected '.jsonl' or '.csv'"),
    ],
)
def test_what_is_no_data_file_is_refused_before_reading(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path, b"", "d.parquet")
    write(tmp_path, b"", "d")
    with pytest.raises(UsageError) as caught:
        read_rows(tmp_path / name, label=name)
    assert str(caught.value) == f"{name}: {message}"


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, name: str) -> None:
    """A file of 30 000 rows and more than 10 MB is read in less than 1 MB."""
    head, row = (b"a\n", b"x" * 400 + b"\n") if name == "d.csv" else (b"", b'{"a": "' + b"x" * 400 + b'"}\n')
    path = write(tmp_path, head + row * 30_000, name)
    tracemalloc.start()
    try:
        assert describe(path).rows == 30_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
