"""The engines that the contract is tried on, and the registries that they pull from."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import orjson
import pytest

from deploy.embedded.places import free_port
from tests.lab.fake_engine import FakeEngine, FakeFleet, FakeImage, RemoteImage
from tests.lab.images import BALLAST, BUSYBOX, ensure_ballast, ensure_busybox
from tests.lab.platform import ENGINE, free_octet
from tests.lab.registry import Registry
from tests.worker.engine_contract.subject import Subject

_LARGE_BYTES = 24 << 20


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeFleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with FakeFleet(1, folder, images=(FakeImage(BUSYBOX),), configure=_as_slow_as_real) as started:
        yield started


def _as_slow_as_real(engine: FakeEngine) -> None:
    """So that calls of one name meet each other as they do on a real engine."""
    engine.creation_seconds = engine.removal_seconds = 0.03


@pytest.fixture(scope="package", params=["fake", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="package")
def subject(kind: str, request: pytest.FixtureRequest) -> Iterator[Subject]:
    if kind == "fake":
        fleet: FakeFleet = request.getfixturevalue("fleet")
        made = Subject(kind, fleet.engines[0].endpoint, BUSYBOX, 203)
    else:
        ensure_busybox()
        client = docker.DockerClient(base_url=ENGINE)
        made = Subject(kind, ENGINE, BUSYBOX, free_octet(client))
        client.close()
    yield made
    made.remove_all()
    made.api.close()


@dataclass(frozen=True)
class Source:
    """A registry that wants a password. `publish` makes its test's own image there; its reference."""

    host: str
    by_name: str
    password: str
    publish: Callable[[str], str]
    publish_large: Callable[[str], str]
    publish_foreign: Callable[[str], str]
    forget: Callable[[str], None]

    def headers(self, password: str = "") -> Mapping[str, str]:
        """What a pull shows, its own password unless another is given."""
        said = orjson.dumps({"username": "puller", "password": password or self.password})
        return {"X-Registry-Auth": base64.urlsafe_b64encode(said).decode()}


@pytest.fixture(scope="package")
def source(kind: str, subject: Subject, request: pytest.FixtureRequest) -> Iterator[Source]:
    if kind == "fake":
        yield _fake_source(request.getfixturevalue("fleet"))
        return
    ensure_ballast(_LARGE_BYTES)
    registry = Registry()
    yield _real_source(registry)
    registry.stop()


def _fake_source(fleet: FakeFleet) -> Source:
    host, password = f"127.0.0.1:{free_port()}", secrets.token_urlsafe(12)
    by_name = host.replace("127.0.0.1", "localhost")
    engine = fleet.engines[0].engine

    def publish(name: str, *, layers: tuple[int, ...] = (), platform: str = "linux/amd64") -> str:
        for registry in (by_name, host):
            image = FakeImage(f"{registry}/{name}", platform=platform)
            reference = fleet.registries.publish(RemoteImage(image, layers=layers, password=password))
        return reference

    def forget(reference: str) -> None:
        fleet.call(engine.images.remove, reference)

    return Source(
        host,
        by_name,
        password,
        publish,
        lambda name: publish(name, layers=(_LARGE_BYTES,)),
        lambda name: publish(name, platform="linux/s390x"),
        forget,
    )


def _real_source(registry: Registry) -> Source:
    def publish_large(name: str) -> str:
        reference = registry.push(BALLAST, name)
        registry.forget(BALLAST)  # its layer is on the node as long as this name has it
        return reference

    return Source(
        registry.host,
        registry.host.replace("127.0.0.1", "localhost"),
        registry.password,
        lambda name: registry.push(BUSYBOX, name),
        publish_large,
        registry.publish_foreign,
        registry.forget,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def nothing_left(subject: Subject) -> None:
    """Before each test, so that a failing one leaves its containers to be looked at."""
    for row in subject.run(lambda streams: streams.list_containers()):
        subject.steps.remove(row.container_id)
