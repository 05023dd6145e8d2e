from __future__ import annotations

import io
import stat
import tempfile
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import UsageError
from llmops.flows import archive
from llmops.flows.archive import Package, normalise, read_package, write_package
from tests.flows.repository import DAG

FLOW = {"flow.dag.yaml": DAG.encode(), "answer.py": b"def answer(question):\n    return question\n"}


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as error:
        read_package(path)
    return error.value.problems[0].what


def test_caches_and_run_folders_are_dropped_and_line_ends_become_lf(tmp_path: Path) -> None:
    files = {
        **FLOW,
        ".promptflow/flow.tools.json": b"{}",
        "__pycache__/answer.cpython-311.pyc": b"\0",
        ".runs/1/log.txt": b"secret",
        "__MACOSX/._x": b"",
        "prompt.jinja2": b"system:\r\nHi\r\n",
        "picture.png": b"\x89PNG\r\n\0\r\n",
    }
    package = read_package(pack(tmp_path / "qa.zip", files))
    assert package.name == "qa"
    assert package.files == {
        **FLOW,
        "prompt.jinja2": b"system:\nHi\n",
        "picture.png": b"\x89PNG\r\n\0\r\n",
    }
    assert len(package.dropped) == 4


def test_one_folder_around_everything_is_taken_off_and_names_the_flow(tmp_path: Path) -> None:
    files = {f"my-flow/{name}": content for name, content in FLOW.items()}
    assert read_package(pack(tmp_path / "x.zip", files)) == Package(name="my-flow", files=dict(sorted(FLOW.items())))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../evil.py", "a name in it leaves the archive"),
        ("a/../../evil.py", "a name in it leaves the archive"),
        ("..\\evil.py", "a name in it leaves the archive"),
        ("/etc/evil", "a name in it is an absolute path"),
        ("\\\\server\\share", "a name in it is an absolute path"),
        ("C:\\evil.py", "a name in it is an absolute path"),
        ("nul.txt", "a name in it cannot exist on every operating system"),
        ("a./b", "a name in it cannot exist on every operating system"),
        ("tab\there", "a name in it cannot exist on every operating system"),
        ("a//b", "a name in it is no file name"),
        ("ANSWER.py", "two names in it cannot live side by side"),
        ("answer.py/more", "two names in it cannot live side by side"),
    ],
)
def test_a_name_that_could_do_harm_is_refused(tmp_path: Path, name: str, what: str) -> None:
    assert refusal(pack(tmp_path / "x.zip", {**FLOW, name: b"x"})) == what


def test_links_and_encryption_and_doubles_are_refused(tmp_path: Path) -> None:
    for kind in ("link", "double"):
        with zipfile.ZipFile(tmp_path / f"{kind}.zip", "w") as target:
            target.writestr("flow.dag.yaml", DAG)
            link = zipfile.ZipInfo("passwords")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            target.writestr(link if kind == "link" else "a", "/etc/passwd")
            if kind == "double":
                target.writestr("./a", "other")
    assert refusal(tmp_path / "link.zip") == "holds a link"
    assert refusal(tmp_path / "double.zip") == "holds a file twice"
    data = bytearray(pack(tmp_path / "x.zip", FLOW).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert refusal(tmp_path / "x.zip") == "is encrypted"


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = pack(tmp_path / "ratio.zip", {**FLOW, "zeros.bin": b"\0" * (8 << 20)})
    assert refusal(bomb) == "is larger than a flow may be"
    many = pack(tmp_path / "many.zip", {f"{number}": b"" for number in range(archive.MAX_FILES + 1)})
    assert refusal(many) == "is larger than a flow may be"


def test_a_size_that_the_header_lies_about_does_not_matter(tmp_path: Path) -> None:
    data = bytearray(pack(tmp_path / "x.zip", {**FLOW, "zeros.bin": b"\0" * (8 << 20)}).read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(UsageError):
        read_package(tmp_path / "x.zip")


def test_what_is_no_flow_or_no_archive_is_told(tmp_path: Path) -> None:
    assert refusal(pack(tmp_path / "x.zip", {"readme.md": b""})) == "holds no flow"
    (tmp_path / "y.zip").write_bytes(b"PK\x03\x04 nothing")
    assert refusal(tmp_path / "y.zip") == "not a ZIP file that can be read"
    assert refusal(tmp_path / "z.zip") == "no such file or folder"


def test_a_folder_with_a_link_out_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(DAG)
    (tmp_path / "secret.txt").write_text("s")
    (folder / "inside.yaml").symlink_to("flow.dag.yaml")
    assert read_package(folder).files["inside.yaml"] == DAG.encode()
    (folder / "secret.txt").symlink_to(tmp_path / "secret.txt")
    assert refusal(folder) == "holds a link that leads out"


@given(st.dictionaries(st.text(min_size=1, max_size=30), st.binary(max_size=200), max_size=6))
def test_whatever_the_names_are_nothing_leaves_the_folder(files: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in {**files, "flow.dag.yaml": DAG.encode()}.items():
            info = zipfile.ZipInfo("x")
            info.filename = name.encode("utf-8", "replace").decode()
            target.writestr(info, content)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.zip").write_bytes(buffer.getvalue())
        try:
            package = read_package(Path(folder) / "x.zip")
        except UsageError:
            return
        for name in package.files:
            assert (Path(folder) / name).resolve().is_relative_to(Path(folder).resolve())
            assert name == unicodedata.normalize("NFC", name)


@given(st.data())
def test_a_damaged_archive_is_an_answer_and_never_a_crash(data: st.DataObject) -> None:
    content = bytearray(write_package(FLOW))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        path.write_bytes(content[: cut or len(content)])
        try:
            read_package(path)
        except UsageError as error:
            assert error.problems  # noqa: PT017 both ends are right: a package or a refusal


NAMES = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}\.(py|txt|bin)", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=400), max_size=8))
def test_what_was_read_once_is_written_and_read_again_byte_for_byte(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = read_package(pack(Path(folder) / "qa.zip", {**files, **FLOW}))
        again = Path(folder) / "again" / "qa.zip"
        again.parent.mkdir()
        again.write_bytes(write_package(first.files))
        second = read_package(again)
        assert second == Package(name="qa", files=first.files)
        assert write_package(second.files) == again.read_bytes()


def test_only_crlf_of_text_is_changed() -> None:
    assert normalise(b"a\r\nb\rc\n") == b"a\nb\rc\n"
    assert normalise(b"\xff\r\n") == b"\xff\r\n"
