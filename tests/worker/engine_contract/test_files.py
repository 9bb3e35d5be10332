"""What is in a container's own file system: put in, read, looked for, and how much of it there is."""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import ContainerGone, EngineError
from tests.lab.platform import wait_until
from tests.worker.engine_contract.subject import Subject
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import DockerStreams
from worker.engine import RankKey
from worker.output_folder import OUTPUT_FOLDER, UNTOUCHED_AT, folder_archive
from worker.rank_start import put_output_folder
from worker.step_lease import StepLease

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


def test_folder_that_was_put_in_keeps_its_stamp_until_something_is_made_in_it(subject: Subject) -> None:
    folder, at = "/longshore/outputs", datetime(1971, 2, 3, 4, 5, 6, tzinfo=UTC)
    fake = {"files": {f"{folder}/a": "1"}}
    untouched = subject.steps.create(subject.spec("true"))
    filled = subject.steps.create(subject.spec(f"echo -n 1 >{folder}/a", fake=fake))
    for container in (untouched, filled):
        subject.steps.unpack(container, folder_archive(at))
        subject.steps.start(container)
        subject.wait_end(container)

    def changed_at(container: str, path: str = folder) -> datetime | None:
        return subject.run(lambda streams: streams.changed_at(container, path))

    assert changed_at(untouched) == at
    assert changed_at(filled) not in (at, None)
    assert changed_at(untouched, "/nothing/there") is None
    assert changed_at("ls-nothing-1-0") is None


class FrozenSteps:
    """Calls of a step that is stopped, right after it has put something in, until its lease is over."""

    def __init__(self, steps: DockerSteps, held: StepLease) -> None:
        self._steps, self._held = steps, held

    def has_path(self, container: str, path: str) -> bool:
        return self._steps.has_path(container, path)

    def unpack(self, container: str, archive: bytes, folder: str = "/") -> None:
        self._steps.unpack(container, archive, folder)
        wait_until(lambda: self._held.is_over, 20, "the lease is over")


def test_output_folder_that_is_put_in_by_a_step_that_was_frozen_does_not_look_empty(subject: Subject) -> None:
    steps: Any = subject.steps
    container, held = steps.create(subject.spec("true")), StepLease(5)
    put_output_folder(steps, container, held)
    assert _changed_at(subject, container) == UNTOUCHED_AT
    # Of what is there already nothing is changed, as it may be in use.
    put_output_folder(steps, container, StepLease(0))
    other, held = steps.create(subject.spec("true")), StepLease(5)
    frozen: Any = FrozenSteps(steps, held)
    put_output_folder(frozen, other, held)
    assert _changed_at(subject, other) not in (UNTOUCHED_AT, None)


def _changed_at(subject: Subject, container: str) -> datetime | None:
    return subject.run(lambda streams: streams.changed_at(container, OUTPUT_FOLDER))


def test_archive_of_a_folder_is_a_tar_in_pieces(subject: Subject) -> None:
    folder, size = "/longshore/outputs", 3_000_000
    fake = {"files": {f"{folder}/a": "x" * size, f"{folder}/b": "1"}}
    script = f"head -c {size} /dev/zero >{folder}/a; echo -n 1 >{folder}/b"
    container = subject.steps.create(subject.spec(script, fake=fake))
    subject.steps.unpack(container, folder_archive(datetime.now(UTC)))
    subject.steps.start(container)
    subject.wait_end(container)
    pieces = _pieces(subject, container, folder)
    assert len(pieces) > 1 and max(map(len, pieces)) <= 2 << 20
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert {each.name: each.size for each in tar if each.isfile()} == {"outputs/a": size, "outputs/b": 1}
    assert _pieces(subject, container, "/nothing/there") == []
    assert _pieces(subject, "ls-nothing-1-0", folder) == []


def _pieces(subject: Subject, container: str, path: str) -> list[bytes]:
    async def read(streams: DockerStreams) -> list[bytes]:
        return [piece async for piece in streams.archive(container, path)]

    return subject.run(read)


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
