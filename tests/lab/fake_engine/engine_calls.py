"""The calls about the engine itself, its events and its networks."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson

from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.events import Event, Wanted, has_labels
from tests.lab.fake_engine.http_server import Reply, Request
from tests.lab.fake_engine.networks import Refused
from tests.lab.fake_engine.parameters import filters_of, moment_of
from tests.lab.fake_engine.stamps import fixed_stamp, now_ns


def ping(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    reply.data(200, b"OK", "text/plain; charset=utf-8")


def version(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    reply.json(
        200,
        {
            "Platform": {"Name": ""},
            "Components": [{"Name": "Engine", "Version": engine.facts.version, "Details": {}}],
            "Version": engine.facts.version,
            "ApiVersion": "1.41",
            "MinAPIVersion": "1.12",
            "Os": "linux",
            "Arch": "amd64",
            "KernelVersion": "0",
        },
    )


def info(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    facts = engine.facts
    statuses = [container.status for container in engine.containers.values()]
    said: dict[str, Any] = {
        "ID": engine.engine_id,
        "Name": facts.name,
        "Containers": len(statuses),
        "ContainersRunning": statuses.count("running"),
        "ContainersPaused": 0,
        "ContainersStopped": len(statuses) - statuses.count("running"),
        "Images": len(engine.images.all()),
        "Driver": "overlay2",
        "SystemTime": fixed_stamp(now_ns()),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1",
        "MemoryLimit": True,
        "PidsLimit": True,
        "NEventsListener": engine.events.listener_count,
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": facts.cpu_count,
        "MemTotal": facts.memory_bytes,
        "DockerRootDir": facts.root,
        "Labels": [],
        "ServerVersion": facts.version,
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False},
        "LiveRestoreEnabled": True,
        "Warnings": None,
    }
    if facts.gpu_count:
        devices = [*map(str, range(facts.gpu_count)), "all"]
        said["DiscoveredDevices"] = [{"Source": "cdi", "ID": f"nvidia.com/gpu={each}"} for each in devices]
    reply.json(200, said)


def events(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    said = filters_of(request, frozenset({"type", "event", "container", "label", "image", "network"}))
    wanted = Wanted(
        frozenset(said.get("type", ())),
        frozenset(said.get("event", ())),
        frozenset(said.get("container", ())),
        tuple(said.get("label", ())),
    )
    since, until = moment_of(request, "since"), moment_of(request, "until")
    reply.begin("application/json")
    if until is None:
        engine.events.listen(reply, wanted, since)
    elif until <= now_ns():
        engine.events.replay(reply, wanted, since, until)
        reply.end()
    else:
        engine.events.listen(reply, wanted, since)
        seconds = (until - now_ns()) / 1_000_000_000

        def end() -> None:
            engine.events.forget(reply)
            reply.end()

        asyncio.get_running_loop().call_later(seconds, end)


def list_networks(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    said = filters_of(request, frozenset({"name", "id", "label", "driver", "scope", "type", "dangling"}))
    labels, names = tuple(said.get("label", ())), [re.compile(each) for each in said.get("name", ())]
    rows = [
        network.inspected()
        for network in engine.networks.all()
        # A name filter is a pattern that is looked for anywhere in the name.
        if (not names or any(each.search(network.name) for each in names)) and has_labels(network.labels, labels)
    ]
    reply.json(200, rows)


def inspect_network(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    found = engine.networks.find(subject)
    if found is None:
        raise Refused(404, f"network {subject} not found")
    reply.json(200, found.inspected({each.id: each.name for each in engine.containers.values()}))


def create_network(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    network = engine.networks.create(orjson.loads(request.body), now_ns())
    attributes = {"name": network.name, "type": str(network.payload.get("Driver") or "bridge")}
    engine.events.tell(Event(now_ns(), "network", "create", network.id, attributes))
    reply.json(201, {"Id": network.id, "Warning": ""})


def remove_network(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    network = engine.networks.remove(subject)
    attributes = {"name": network.name, "type": "bridge"}
    engine.events.tell(Event(now_ns(), "network", "destroy", network.id, attributes))
    reply.empty(204)
