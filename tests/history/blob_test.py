"""A history in append blobs: against Azurite, over TLS, with a signature that may do no more than it must."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops.emulator.azurite_process import Azurite, install_azurite, make_account
from llmops.emulator.blobs import Blobs, sign_container
from llmops.emulator.certificates import make_certificates
from llmops.errors import BackendError, UsageError
from llmops.history.blob import BlobStore, open_blob_store
from llmops.history.stores import Surroundings

pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("history-blob")]

_NUMBERS = itertools.count(1)
Open = Callable[..., BlobStore]


@pytest.fixture(scope="module")
def azurite(
    root: Path, open_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Azurite]:
    folder = tmp_path_factory.mktemp("azurite")
    certificates = make_certificates(folder / "certificates", "eastus")
    script = install_azurite(root / ".cache", open_environment)
    running = Azurite(script=script, account=make_account("store"), certificates=certificates, folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
        yield running
    running.close()


@pytest.fixture
def open_store(azurite: Azurite, tmp_path: Path) -> Open:
    """Give a function that opens the same new container again and again."""
    container = f"history-{next(_NUMBERS)}"
    Blobs(azurite).make_container(container)

    def open_it(*, permissions: str = "racwl", container: str = container) -> BlobStore:
        query = sign_container(azurite.account, container, permissions=permissions)
        url = f"https://127.0.0.1:{azurite.port}/store/{container}/team/llmops?{query}"
        around = Surroundings(root=tmp_path, environment="prod", env={"HISTORY_URL": url}, sleep=lambda _: None)
        return open_blob_store("${env:HISTORY_URL}", around)

    return open_it


def test_what_is_appended_is_read(open_store: Open) -> None:
    assert open_store().read() == {}
    assert open_store().append({"tiny/dev.jsonl": ["one", "two"], "tiny/prod.jsonl": ["three"]}) == 3
    assert open_store().append({"tiny/dev.jsonl": ["four"]}) == 1
    assert open_store().read() == {"tiny/dev.jsonl": "one\ntwo\nfour\n", "tiny/prod.jsonl": "three\n"}


def test_a_line_that_is_there_is_not_appended_again(open_store: Open) -> None:
    open_store().append({"tiny/dev.jsonl": ["one"]})
    assert open_store().append({"tiny/dev.jsonl": ["one"]}) == 0
    assert open_store().read() == {"tiny/dev.jsonl": "one\n"}


def test_jobs_that_race_lose_no_line_and_double_none(open_store: Open) -> None:
    wanted = [f"line {number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda line: open_store().append({"tiny/dev.jsonl": [line]}), wanted))
    assert sorted(open_store().read()["tiny/dev.jsonl"].splitlines()) == wanted


def test_jobs_that_append_the_same_line_at_once_append_it_once(open_store: Open) -> None:
    with ThreadPoolExecutor(6) as pool:
        added = pool.map(lambda _: open_store().append({"tiny/dev.jsonl": ["one"]}), range(6))
        assert sum(added) == 1
    assert open_store().read() == {"tiny/dev.jsonl": "one\n"}


def test_a_blob_that_was_not_made_by_us_is_not_written_to(open_store: Open, azurite: Azurite) -> None:
    store = open_store()
    container = store.container.rpartition("/")[2]
    Blobs(azurite).write(container, "team/llmops/tiny/dev.jsonl", b"theirs\n")
    with pytest.raises(UsageError, match="not an append blob"):
        store.append({"tiny/dev.jsonl": ["one"]})
    assert Blobs(azurite).read(container, "team/llmops/tiny/dev.jsonl") == b"theirs\n"


def test_a_refusal_says_what_is_needed_and_shows_no_signature(open_store: Open) -> None:
    with pytest.raises(BackendError, match="Storage Blob Data Contributor") as refused:
        open_store(permissions="rl").append({"tiny/dev.jsonl": ["one"]})
    assert "sig" not in str(refused.value)
    assert "sig" not in open_store().place
    with pytest.raises(BackendError, match="the history was refused"):
        open_store(container="nowhere").read()


def test_a_service_that_is_away_shows_no_signature(tmp_path: Path) -> None:
    around = Surroundings(root=tmp_path, environment="prod", env={}, sleep=lambda _: None)
    store = open_blob_store("http://127.0.0.1:9/store/history?sv=1&sig=secret-signature", around)
    with pytest.raises(BackendError) as failed:
        store.read()
    assert "secret-signature" not in str(failed.value)


def test_without_a_signature_the_azure_command_line_gives_the_token(tmp_path: Path) -> None:
    az = tmp_path / "az"
    az.write_text(
        '#!/bin/sh\ntest "$*" = "account get-access-token --resource https://storage.azure.com/ --output json" || exit 9\n'
        'echo \'{"accessToken": "token-of-the-double"}\'\n',
        encoding="utf-8",
    )
    az.chmod(az.stat().st_mode | stat.S_IXUSR)
    around = Surroundings(
        root=tmp_path, environment="prod", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, sleep=lambda _: None
    )
    store = open_blob_store("https://account.blob.core.windows.net/history/prod", around)
    assert (store.token, store.container, store.prefix) == (
        "token-of-the-double",
        "https://account.blob.core.windows.net/history",
        "prod",
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://account.blob.core.windows.net/history", "no token for Azure Storage"),
        ("http://account.blob.core.windows.net/history?sig=x", "not an address of a container"),
        ("${env:NOT_SET}", "the variable NOT_SET is not set"),
    ],
)
def test_an_address_that_cannot_be_used_is_said(url: str, message: str, tmp_path: Path) -> None:
    around = Surroundings(root=tmp_path, environment="prod", env={"PATH": str(tmp_path)}, sleep=lambda _: None)
    with pytest.raises(UsageError) as refused:
        open_blob_store(url, around)
    assert message in str(refused.value)
