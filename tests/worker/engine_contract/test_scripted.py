"""What only the fake engine can be made to do, as our adapters meet it. What both do is in the other files."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.errors import CommandNotStarted, EngineError, NodeUnreachable, RegistryUnreachable
from tests.lab.fake_engine import (
    DISK_FULL,
    ENGINE_ERROR,
    Behaviour,
    FakeEngine,
    FakeFleet,
    FakeImage,
    HostFacts,
    Output,
    RemoteImage,
    ServedEngine,
)
from tests.lab.fake_engine.images import BROKEN_REGISTRY, RATE_LIMITED
from tests.worker.engine_contract.subject import Listener, Subject
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import DockerStreams, PullStep

_IMAGE = "longshore-test/busybox:1"
_SHORT_SECONDS = 1.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedEngine]:
    """An engine of the test's own."""

    def facts(_: int) -> HostFacts:
        return HostFacts("gpu-host", str(tmp_path), cpu_count=16, gpu_count=4, memory_bytes=64 << 30)

    with FakeFleet(1, tmp_path, images=(FakeImage(_IMAGE),), facts=facts) as fleet:
        yield fleet.engines[0]


@pytest.fixture
def fake(served: ServedEngine) -> FakeEngine:
    return served.engine


@pytest.fixture
def lab(served: ServedEngine) -> Subject:
    return Subject("fake", served.endpoint, _IMAGE, 10)


def test_device_requests_are_kept_as_they_came(lab: Subject, fake: FakeEngine) -> None:
    spec = lab.spec("sleep 60")
    container = lab.steps.create(replace(spec, gpu=2))
    asked = [{"Driver": "", "DeviceIDs": ["2"], "Capabilities": [["gpu"]]}]
    assert fake.container(spec.key.container_name).payload["HostConfig"]["DeviceRequests"] == asked
    assert lab.api.inspect_container(container)["HostConfig"]["DeviceRequests"] == asked
    name, body = fake.creates[-1]
    assert name == spec.key.container_name
    assert orjson.loads(body)["HostConfig"]["NanoCpus"] == 500_000_000


def test_engine_facts_are_those_it_was_given(lab: Subject) -> None:
    facts = lab.run(lambda streams: streams.facts())
    assert (facts.cpu_count, facts.gpu_count, facts.memory_bytes) == (16, 4, 64 << 30)
    assert facts.engine_id.endswith(" gpu-host")


def test_delay_of_a_verb_is_waited_for_and_others_are_not(lab: Subject, fake: FakeEngine) -> None:
    container = lab.steps.create(lab.spec("true"))
    fake.delays["start"] = 0.5
    began = time.monotonic()
    lab.seen(container)
    assert time.monotonic() - began < 0.4
    lab.steps.start(container)
    assert time.monotonic() - began >= 0.5


def test_silent_engine_is_unreachable_by_both_adapters(lab: Subject, served: ServedEngine) -> None:
    impatient = DockerSteps(served.endpoint, timeout_seconds=_SHORT_SECONDS)

    async def ask() -> None:
        async with lab.streams(_SHORT_SECONDS) as streams, asyncio.timeout(10):
            await streams.version()
            served.go_silent()
            await streams.version()

    with pytest.raises(NodeUnreachable):
        asyncio.run(ask())
    with pytest.raises(NodeUnreachable):
        impatient.observe("ls-x-1-0")
    served.speak()
    assert impatient.observe("ls-x-1-0") is None


def test_engine_silent_from_the_first_call_is_unreachable(lab: Subject, served: ServedEngine) -> None:
    served.go_silent()

    async def ask() -> None:
        async with lab.streams(_SHORT_SECONDS) as streams, asyncio.timeout(4):
            await streams.version()

    with pytest.raises(NodeUnreachable):
        asyncio.run(ask())


def test_engine_that_is_gone_is_unreachable_and_its_containers_go_on(lab: Subject, served: ServedEngine) -> None:
    container = lab.started("sleep 0.3; exit 4")
    served.go_away()
    with pytest.raises(NodeUnreachable):
        lab.steps.observe(container)
    with pytest.raises(NodeUnreachable):
        DockerSteps(served.endpoint, timeout_seconds=_SHORT_SECONDS)
    time.sleep(0.4)
    served.come_back()
    assert lab.wait_end(container).exit_code == 4


def test_streams_end_when_the_engine_goes_away(lab: Subject, served: ServedEngine) -> None:
    container = lab.started("echo one; sleep 60")

    async def follow(streams: DockerStreams) -> None:
        async with asyncio.timeout(10):
            async for _ in streams.log_pieces(container, since_ns=0, follow=True):
                await asyncio.to_thread(served.go_away)

    async def listen(streams: DockerStreams) -> None:
        async with Listener(streams) as listener:
            await asyncio.to_thread(served.cut)
            await asyncio.wait_for(listener.task, 10)

    # Followed output just ends, which says nothing of the container: who follows asks, and is told.
    with contextlib.suppress(NodeUnreachable):
        lab.run(follow)
    with pytest.raises(NodeUnreachable):
        lab.run(lambda streams: streams.observe(container))
    served.come_back()
    with pytest.raises(NodeUnreachable):
        lab.run(listen)


def test_create_whose_reply_is_lost_finds_its_container(lab: Subject, fake: FakeEngine) -> None:
    fake.lost_replies.add("create")
    spec = lab.spec("sleep 60")
    container = lab.steps.create(spec)
    assert fake.container(spec.key.container_name).id == container
    assert len(fake.containers) == 1


def test_start_whose_reply_is_lost_has_happened(lab: Subject, fake: FakeEngine) -> None:
    container = lab.steps.create(lab.spec("sleep 60"))
    fake.lost_replies.add("start")
    with pytest.raises(NodeUnreachable):
        lab.steps.start(container)
    assert lab.seen(container).status == "running"


def test_create_on_a_full_disk_is_an_engines_fault(lab: Subject, fake: FakeEngine) -> None:
    fake.refusals["create"] = DISK_FULL
    with pytest.raises(EngineError, match="no space left on device") as raised:
        lab.steps.create(lab.spec("true"))
    assert not isinstance(raised.value, CommandNotStarted)
    del fake.refusals["create"]
    lab.steps.create(lab.spec("true"))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            {"startRefusal": {"status": ENGINE_ERROR.status, "message": ENGINE_ERROR.message}},
            EngineError,
        ),
        (
            {
                "startRefusal": {
                    "status": 400,
                    "message": 'runc create failed: exec: "x": stat x: no such file or directory: unknown',
                }
            },
            CommandNotStarted,
        ),
    ],
)
def test_start_refused_by_script_leaves_it_created(lab: Subject, said: Any, kind: type[EngineError]) -> None:
    container = lab.steps.create(lab.spec("true", fake=said))
    with pytest.raises(kind) as raised:
        lab.steps.start(container)
    assert type(raised.value) is kind
    seen = lab.seen(container)
    assert (seen.status, seen.error) == ("created", said["startRefusal"]["message"])


def test_termination_after_a_while_has_its_own_code(lab: Subject) -> None:
    container = lab.started("x", fake={"seconds": None, "onTerm": {"after": 0.4, "exitCode": 5}})
    told = time.monotonic()
    lab.steps.signal(container, "SIGTERM")
    assert lab.seen(container).status == "running"
    assert lab.wait_end(container).exit_code == 5
    assert time.monotonic() - told >= 0.4


def test_output_in_time_comes_in_time(lab: Subject) -> None:
    said = {"seconds": 0.5, "output": [{"data": "tick\n", "times": 4, "every": 0.1}, {"data": "end", "at": 0.45}]}
    container = lab.ended("x", fake=said)
    frames = lab.frames(container)
    assert [frame.data for frame in frames] == [b"tick\n"] * 4 + [b"end"]
    assert frames[3].time_ns - frames[0].time_ns >= 0.25e9


def test_time_scale_makes_long_runs_short(tmp_path: Path) -> None:
    with FakeFleet(1, tmp_path, images=(FakeImage(_IMAGE),), time_scale=100) as fleet:
        lab = Subject("fake", fleet.engines[0].endpoint, _IMAGE, 10)
        began = time.monotonic()
        assert lab.wait_end(lab.started("sleep 60; exit 2")).exit_code == 2
        assert 0.5 < time.monotonic() - began < 10


def test_behaviour_is_the_environments_then_the_hooks_then_the_images(lab: Subject, fake: FakeEngine) -> None:
    fake.add_image(FakeImage("scripted:1", behaviour=Behaviour(exit_code=11)))
    lab.image = "scripted:1"
    assert lab.wait_end(lab.started("exit 1")).exit_code == 11
    fake.behaviour_of = lambda container: Behaviour(exit_code=12) if "twelve" in container.labels else None
    assert lab.wait_end(lab.started("exit 1")).exit_code == 11
    lab.image = _IMAGE
    assert lab.wait_end(lab.started("exit 1", fake={"exitCode": 13})).exit_code == 13
    fake.behaviour_of = lambda _: Behaviour(exit_code=12, output=(Output(b"hook\n"),))
    container = lab.ended("exit 1")
    assert lab.seen(container).exit_code == 12
    assert [frame.data for frame in lab.frames(container)] == [b"hook\n"]


@pytest.mark.parametrize(
    "script",
    ["ls | wc", "x=$(date)", "for i in 1 2; do echo $i; done", "echo `id`", "cat /etc/passwd", "x=1; echo $x"],
)
def test_command_that_cannot_be_read_ends_with_126_and_says_so(lab: Subject, script: str) -> None:
    container = lab.ended(script)
    assert lab.seen(container).exit_code == 126
    assert b"cannot read the command" in lab.frames(container)[0].data


def test_command_reads_what_the_shell_would_do(lab: Subject) -> None:
    script = "echo \"$RANK of ${SIZE}\" && false || echo 'a;b $RANK'\nprintf '1\\n'; nothing; exit 300"
    container = lab.ended(script, environment={"RANK": "3", "SIZE": "8"})
    said = [b"3 of 8\n", b"a;b $RANK\n", b"1\n", b"sh: nothing: not found\n"]
    assert [frame.data for frame in lab.frames(container)] == said
    assert lab.seen(container).exit_code == 44


def test_behaviour_that_is_none_is_refused_at_create(lab: Subject) -> None:
    with pytest.raises(EngineError, match="FAKE_ENGINE has unknown members: secnods"):
        lab.steps.create(lab.spec("true", fake={"secnods": 3}))


def test_muted_engine_tells_of_nothing_and_lists_everything(lab: Subject, fake: FakeEngine) -> None:
    fake.events.muted = True

    async def work(streams: DockerStreams) -> tuple[int, list[str]]:
        async with Listener(streams) as listener:
            await asyncio.to_thread(lab.ended, "true")
            await asyncio.sleep(0.1)
            return len(listener.heard), [row.status for row in await streams.list_containers()]

    assert lab.run(work) == (0, ["exited"])


def test_pull_errors_of_registries_are_what_engines_say(lab: Subject, fake: FakeEngine) -> None:
    limited, broken = FakeImage("r.test/limited:1"), FakeImage("r.test/broken:1")
    fake.registries.publish(RemoteImage(limited, refusal=RATE_LIMITED))
    fake.registries.publish(RemoteImage(broken, refusal=BROKEN_REGISTRY))
    with pytest.raises(EngineError, match="toomanyrequests"):
        _pull(lab, limited.reference)
    with pytest.raises(RegistryUnreachable, match="503 Service Unavailable"):
        _pull(lab, broken.reference)


def test_pull_that_breaks_half_way_says_so_after_some_progress(lab: Subject, fake: FakeEngine) -> None:
    image = FakeImage("r.test/half:1")
    said = "write /var/lib/docker/tmp/GetImageBlob1: no space left on device"
    fake.registries.publish(RemoteImage(image, layers=(1000, 1000), error=said))
    heard: list[PullStep] = []
    with pytest.raises(EngineError, match="no space left on device"):
        _pull(lab, image.reference, heard)
    assert [step.done_bytes for step in heard if step.status == "Downloading"] == [250, 500]
    assert lab.steps.find_image(image.reference) is None


def test_pull_that_stalls_makes_no_progress_and_ends_never(lab: Subject, fake: FakeEngine) -> None:
    image = FakeImage("r.test/stalled:1")
    fake.registries.publish(RemoteImage(image, stalls=True))
    heard: list[PullStep] = []
    with pytest.raises(TimeoutError):
        _pull(lab, image.reference, heard, seconds=0.5)
    assert heard
    assert lab.steps.find_image(image.reference) is None


def test_pull_takes_its_time(lab: Subject, fake: FakeEngine) -> None:
    image = FakeImage("r.test/slow:1")
    fake.registries.publish(RemoteImage(image, layers=(1000, 1000), seconds=0.5))
    began = time.monotonic()
    _pull(lab, image.reference)
    assert 0.4 < time.monotonic() - began < 5
    assert lab.steps.find_image(image.reference) is not None


def test_fleet_of_a_thousand_engines_answers(tmp_path: Path) -> None:
    with FakeFleet(1000, tmp_path, images=(FakeImage(_IMAGE),)) as fleet:
        ids = {_info(served.path)["ID"] for served in fleet.engines}
        assert len(ids) == 1000
        assert all(served.engine.calls["info"] == 1 for served in fleet.engines)
    assert not list(tmp_path.iterdir())


def test_fleet_in_a_process_of_its_own_tells_what_happened(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.lab.fake_engine", "--count", "2", "--folder", str(tmp_path), _IMAGE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        lab = Subject("fake", f"unix://{tmp_path}/1.sock", _IMAGE, 10)
        spec = lab.spec("true")
        for _ in range(2):
            lab.steps.start(lab.steps.create(spec))
            lab.wait_end(spec.key.container_name)
            lab.steps.remove(spec.key.container_name)
        process.stdin.write(b"\n")
        process.stdin.flush()
        told = orjson.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(10) == 0
    assert told["actions"] == {"create": 2, "start": 2, "die": 2, "destroy": 2}
    assert (told["repeated"], told["mostRunning"]) == ([spec.key.container_name], 1)


def _pull(
    lab: Subject, reference: str, heard: list[PullStep] | None = None, *, seconds: float = 10.0
) -> list[PullStep]:
    steps = heard if heard is not None else []

    async def pull(streams: DockerStreams) -> list[PullStep]:
        async with asyncio.timeout(seconds):
            async for step in streams.pull(reference, {}):
                steps.append(step)
        return steps

    return lab.run(pull)


def _info(path: Path) -> dict[str, Any]:
    connection = http.client.HTTPConnection("localhost")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection.sock:
        connection.sock.connect(str(path))
        connection.request("GET", "/info")
        told: dict[str, Any] = orjson.loads(connection.getresponse().read())
    return told
