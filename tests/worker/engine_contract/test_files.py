"""What is in a container's own file system: put in, read, looked for, and how much of it there is."""

from __future__ import annotations

import io
import tarfile

import pytest

from core.errors import ContainerGone, EngineError
from tests.lab.platform import wait_until
from tests.worker.engine_contract.subject import Subject
from worker.engine import RankKey

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_archive_put_in_before_the_start_is_there(subject: Subject) -> None:
    container = subject.steps.create(subject.spec("sleep 60"))
    assert not subject.steps.has_path(container, "/tmp/given/secret")
    subject.steps.unpack(container, _archive("tmp/given/secret", b"12\x0045"))
    assert subject.steps.has_path(container, "/tmp/given/secret")
    assert subject.steps.has_path(container, "/tmp/given")
    assert _read(subject, container, "/tmp/given/secret", 100) == b"12\x0045"
    subject.steps.start(container)
    assert _read(subject, container, "/tmp/given/secret", 100) == b"12\x0045"
    assert _read(subject, container, "/tmp/given/nothing", 100) is None


def test_archive_larger_than_its_reader_takes_is_refused(subject: Subject) -> None:
    container = subject.steps.create(subject.spec("sleep 60"))
    subject.steps.unpack(container, _archive("tmp/large", bytes(50_000)))
    with pytest.raises(EngineError, match="larger than 1000 bytes"):
        _read(subject, container, "/tmp/large", 1000)


def test_archive_that_is_none_is_refused(subject: Subject) -> None:
    container = subject.steps.create(subject.spec("sleep 60"))
    with pytest.raises(EngineError, match="invalid tar header"):
        subject.steps.unpack(container, b"no archive " * 200)


def test_archive_of_a_container_that_is_gone_says_so(subject: Subject) -> None:
    with pytest.raises(ContainerGone):
        subject.steps.unpack("ls-nothing-1-0", b"")
    assert not subject.steps.has_path("ls-nothing-1-0", "/bin/sh")
    assert _read(subject, "ls-nothing-1-0", "/bin/sh", 10) is None


@pytest.mark.parametrize(("path", "there"), [("/bin/sh", True), ("/", True), ("/tmp", True), ("/bin/nosh", False)])
def test_has_path_says_what_the_image_has(subject: Subject, path: str, there: bool) -> None:
    container = subject.steps.create(subject.spec("sleep 60"))
    assert subject.steps.has_path(container, path) is there


def test_written_bytes_are_those_of_running_containers(subject: Subject) -> None:
    size = 30_000
    script, fake = f"head -c {size} /dev/zero > /big; sleep 60", {"seconds": None, "files": {"/big": "x" * size}}
    containers = [subject.started(script, fake=fake), subject.started("sleep 60"), subject.ended("true")]
    first, second, ended = (_key(subject, each) for each in containers)

    def written() -> dict[RankKey, int]:
        return subject.run(lambda streams: streams.written_bytes())

    wait_until(lambda: size <= written().get(first, 0) < 10 * size, 20, "what was written is counted")
    assert written()[second] < size
    assert ended not in written()
    for container in containers:
        subject.steps.remove(container)


def _archive(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _key(subject: Subject, container: str) -> RankKey:
    key = RankKey.from_container_name(subject.api.inspect_container(container)["Name"])
    assert key is not None
    return key


def _read(subject: Subject, container: str, path: str, limit_bytes: int) -> bytes | None:
    return subject.run(lambda streams: streams.read_file(container, path, limit_bytes=limit_bytes))
