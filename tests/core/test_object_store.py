"""Objects are written whole or not at all, read in part, listed and removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest

from core.errors import NotFound, Unavailable
from core.object_store import ObjectStore
from tests.lab.bucket import Bucket


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    made = Bucket(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.variables.items():
            patch.setenv(name, value)
        yield made
    made.stop()


@pytest.fixture
def filled(bucket: Bucket) -> Iterator[Bucket]:
    bucket.drop()
    bucket.make()
    yield bucket


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return ObjectStore(f"file://{tmp_path}/not%20there/yet")
    return ObjectStore(request.getfixturevalue("filled").url)


def test_object_is_read_as_it_was_written_whole_in_part_and_in_pieces(store: ObjectStore) -> None:
    parts = [bytes([number]) * 300_000 for number in range(40)]
    assert store.write("logs/job/1/0", parts) == 12_000_000
    whole = b"".join(parts)
    assert store.read("logs/job/1/0") == whole
    assert store.read("logs/job/1/0", start=299_999, length=2) == b"\0\1"
    pieces = list(store.stream("logs/job/1/0"))
    assert b"".join(pieces) == whole
    assert len(pieces) > 1


def test_object_of_no_bytes_is_an_object(store: ObjectStore) -> None:
    assert store.write("empty", []) == 0
    assert store.read("empty") == b""


def test_object_that_is_written_again_is_replaced(store: ObjectStore) -> None:
    store.write("a/b", [b"older and longer"])
    store.write("a/b", [b"newer"])
    assert store.read("a/b") == b"newer"


def test_parts_that_fail_leave_the_object_as_it_was(store: ObjectStore) -> None:
    store.write("a/b", [b"whole"])

    def failing() -> Iterator[bytes]:
        yield b"x" * 20_000_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write("a/b", failing())
    assert store.read("a/b") == b"whole"
    assert list(store.paths_below("a/")) == ["a/b"]


def test_object_that_is_not_there_is_not_found_and_its_removal_no_fault(store: ObjectStore) -> None:
    for read in (
        lambda: store.read("no"),
        lambda: store.read("no", start=0, length=1),
        lambda: list(store.stream("no")),
    ):
        with pytest.raises(NotFound, match="the object store has no no"):
            read()
    store.write("yes", [b"1"])
    store.remove(["no", "yes", "yes"])
    assert list(store.paths_below("")) == []


def test_paths_below_a_folder_are_those_of_it_alone(store: ObjectStore) -> None:
    for path in ("logs/a/1/0", "logs/a/1/1", "logs/ab/1/0", "outputs/a/1/0"):
        store.write(path, [b""])
    assert sorted(store.paths_below("logs/a/")) == ["logs/a/1/0", "logs/a/1/1"]


def test_store_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}")
    (tmp_path / "logs").write_text("a file where a folder is to be")
    with pytest.raises(Unavailable, match="does not answer for logs/a"):
        store.write("logs/a", [b"1"])


def test_parts_that_fail_leave_nothing_in_a_bucket_that_costs_and_is_not_seen(filled: Bucket) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * 20_000_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ObjectStore(filled.url).write("a/b", failing())
    assert filled.names() == []
    assert not filled.has_unfinished()


def test_bucket_that_is_missing_is_unavailable_and_says_nothing_of_its_objects(filled: Bucket) -> None:
    store = ObjectStore(filled.url)
    store.write("a/b", [b"there"])
    filled.drop()
    for call in (
        lambda: store.write("a/b", [b"1"]),
        lambda: store.write("a/large", [b"1" * 20_000_000]),
        lambda: store.read("a/b"),
        lambda: store.read("a/b", start=0, length=1),
        lambda: list(store.stream("a/b")),
        lambda: list(store.paths_below("a/")),
        lambda: store.remove(["a/b"]),
    ):
        with pytest.raises(Unavailable, match="has no bucket"):
            call()


def test_bucket_that_nobody_serves_is_unavailable_in_bounded_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unserved.getsockname()[1]}")
        store, begun = ObjectStore(bucket.url), time.monotonic()
        with pytest.raises(Unavailable, match="does not answer for a/b"):
            store.read("a/b")
    assert time.monotonic() - begun < 40


@pytest.mark.parametrize("url", ["", "/a/folder", "http://example.test/a", "memory:///", "s3:///no-bucket"])
def test_url_of_no_store_that_lasts_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be file:///folder"):
        ObjectStore(url)
