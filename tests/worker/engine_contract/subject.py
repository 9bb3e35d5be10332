"""The engine under test and what a test asks of it, the same for a real engine and for the fake one."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

import docker
import orjson

from core.jobs.launching import RankLimits
from core.log_records import LogRecord
from tests.lab.fake_engine.behaviour import VARIABLE
from tests.lab.platform import wait_until
from worker.docker_engine.payload import container_payload
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import ContainerEvent, DockerStreams
from worker.engine import LABEL_INSTALLATION, LABEL_NETWORK, ContainerSpec, NetworkSpec, Observation, RankKey

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
LIMITS = RankLimits(cpu_count=0.5, memory_bytes=64 << 20, pids=64)


@dataclass
class Subject:
    """`api` is docker-py's own client, for what our adapters do not say. `network` is there already.

    A command is read by both engines; where the fake cannot read it, `fake` says what it does (see
    `behaviour.from_json`).
    """

    kind: str
    endpoint: str
    image: str
    octet: int
    installation: str = field(default_factory=lambda: f"contract-{secrets.token_hex(4)}")
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.steps = DockerSteps(self.endpoint, timeout_seconds=TIMEOUT_SECONDS)
        self.api: Any = docker.APIClient(base_url=self.endpoint, version="auto", timeout=int(TIMEOUT_SECONDS))
        self.network = self.network_spec(gang=False)
        self.steps.ensure_network(self.network)

    @property
    def other_installation(self) -> str:
        """Another installation on the same engine."""
        return f"{self.installation}-other"

    def network_spec(self, *, gang: bool = True) -> NetworkSpec:
        """A network of its own range and name, not created yet."""
        number = next(self._numbers)
        return NetworkSpec(
            f"{self.installation}-{number}",
            IPv4Network(f"10.{self.octet}.{number}.0/24"),
            isolated=not gang,
            labels={LABEL_INSTALLATION: self.installation, LABEL_NETWORK: "gang" if gang else "solo"},
        )

    def address(self, number: int, network: NetworkSpec | None = None) -> IPv4Address:
        """An address of a network, by default of the one that containers are on."""
        subnet = (network or self.network).subnet
        assert subnet is not None
        return subnet[number]

    def spec(
        self,
        *command: str,
        fake: Mapping[str, Any] | None = None,
        installation: str = "",
        environment: Mapping[str, str] | None = None,
        address: IPv4Address | None = None,
        network: str = "",
        memory_bytes: int = LIMITS.memory_bytes,
    ) -> ContainerSpec:
        """A container of a new name: a shell script where `command` is one word, else an argument vector."""
        told = dict(environment or {})
        if fake is not None and self.kind == "fake":
            told[VARIABLE] = orjson.dumps(fake).decode()
        is_script = len(command) == 1
        return ContainerSpec(
            key=RankKey(f"c{secrets.token_hex(5)}", 1, 0),
            image=self.image,
            entrypoint=("/bin/sh", "-c") if is_script else None,
            command=command,
            environment=told,
            labels={LABEL_INSTALLATION: installation or self.installation, "colour": "blue"},
            limits=replace(LIMITS, memory_bytes=memory_bytes),
            network=network or self.network.name,
            hostname="rank-0",
            address=address,
        )

    def started(self, *command: str, **more: Any) -> str:
        """A container that has been started; its id."""
        container = self.steps.create(self.spec(*command, **more))
        self.steps.start(container)
        return container

    def ended(self, *command: str, **more: Any) -> str:
        """A container that has run and ended; its id."""
        container = self.started(*command, **more)
        self.wait_end(container)
        return container

    def wait_end(self, container: str, seconds: float = 20.0) -> Observation:
        """How a container has ended, once it has."""
        wait_until(lambda: self.seen(container).ended, seconds, f"{container} has ended")
        return self.seen(container)

    def seen(self, container: str) -> Observation:
        """What the engine says of a container that is there."""
        found = self.steps.observe(container)
        assert found is not None, f"{container} is not there"
        return found

    def wait_running(self, container: str, seconds: float = 20.0) -> None:
        """Return when a container runs."""
        wait_until(lambda: self.seen(container).status == "running", seconds, f"{container} runs")

    def create_raw(self, spec: ContainerSpec, **host: Any) -> str:
        """As our adapter creates it, with some of the host's settings changed."""
        body = container_payload(spec)
        body["HostConfig"] |= host
        return str(self.api.create_container_from_config(body, spec.key.container_name)["Id"])

    def run(self, work: Callable[[DockerStreams], Awaitable[T]]) -> T:
        """What an asynchronous test does with our streams."""

        async def with_streams() -> T:
            async with self.streams() as streams:
                return await work(streams)

        return asyncio.run(with_streams())

    @asynccontextmanager
    async def streams(self, timeout_seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[DockerStreams]:
        """Our streams of this engine and installation."""
        opened = DockerStreams(self.endpoint, self.installation, timeout_seconds=timeout_seconds)
        try:
            yield opened
        finally:
            await opened.close()

    def frames(self, container: str, *, since_ns: int = 0, follow: bool = False) -> list[LogRecord]:
        """All frames of a container, to the end of the stream."""

        async def read(streams: DockerStreams) -> list[LogRecord]:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                pieces = streams.log_pieces(container, since_ns=since_ns, follow=follow)
                return [frame async for frames in pieces for frame in frames]

        return self.run(read)

    def init_said(self, container: str) -> list[bool]:
        """What its init has said of a container's end: whether it was by a signal."""
        said: list[bool] = []

        async def read(streams: DockerStreams) -> None:
            async for _ in streams.log_pieces(container, since_ns=0, follow=False, on_end=said.append):
                pass

        self.run(read)
        return said

    def remove_all(self) -> None:
        """Remove every container and network of this subject, and those that stand for somebody else's."""
        for installation in (self.installation, self.other_installation):
            label = f"{LABEL_INSTALLATION}={installation}"
            for container in self.api.containers(all=True, filters={"label": label}):
                self.steps.remove(container["Id"])
            for network in self.api.networks(filters={"label": label}):
                self.api.remove_network(network["Id"])


class Listener:
    """Events of a subject, gathered by `task` while the block runs."""

    def __init__(self, streams: DockerStreams) -> None:
        self._streams = streams
        self.heard: list[ContainerEvent] = []

    async def __aenter__(self) -> Listener:
        self.task = asyncio.create_task(self._listen())
        # The call's answer has no first word to wait for: an event of one's own would be one.
        await asyncio.sleep(0.3)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _listen(self) -> None:
        async for event in self._streams.events():
            self.heard.append(event)

    async def wait_for(self, condition: Callable[[list[ContainerEvent]], bool], seconds: float = 20.0) -> None:
        """Return when what has been heard fulfils a condition."""
        async with asyncio.timeout(seconds):
            while not condition(self.heard):
                await asyncio.sleep(0.02)
