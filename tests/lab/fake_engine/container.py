"""One fake container: what was asked for, where it stands, and how the engine describes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from tests.lab.fake_engine.behaviour import Behaviour
from tests.lab.fake_engine.images import StoredImage
from tests.lab.fake_engine.logs import OutputLog
from tests.lab.fake_engine.networks import FakeNetwork
from tests.lab.fake_engine.stamps import short_stamp

#: Of its environment: tini's level of two.
_INIT_TALKS = "TINI_VERBOSITY=2"
_NEVER = "0001-01-01T00:00:00Z"


class FakeContainer:
    """`status` is the engine's word: created, running, exited, removing.

    The create call's body is kept as it came and parsed when asked for: a hundred thousand of them fit.
    """

    __slots__ = (
        "_attributes",
        "_raw",
        "address",
        "behaviour",
        "created_ns",
        "error",
        "exit_code",
        "files",
        "finished_ns",
        "folders",
        "id",
        "image",
        "image_reference",
        "init_talks",
        "labels",
        "log",
        "name",
        "network",
        "network_mode",
        "on_removed",
        "oom_killed",
        "pid",
        "started_ns",
        "status",
        "timeline",
        "timer",
        "waiters",
        "wants_devices",
    )

    def __init__(
        self,
        container_id: str,
        name: str,
        raw: bytes,
        payload: Mapping[str, Any],
        image: StoredImage,
        behaviour: Behaviour,
        created_ns: int,
    ) -> None:
        self.id = container_id
        self.name = name
        self._raw = raw
        self.image = image
        self.image_reference = str(payload.get("Image") or "")
        self.labels: Mapping[str, str] = payload.get("Labels") or {}
        self._attributes = {**self.labels, "image": self.image_reference, "name": name}
        host = payload.get("HostConfig") or {}
        self.network_mode = str(host.get("NetworkMode") or "default")
        #: its first device request as engines name it, where it has one
        self.wants_devices = "".join(_device_text(each) for each in (host.get("DeviceRequests") or ())[:1])
        #: its init is to say how its program ended
        self.init_talks = bool(host.get("Init")) and _INIT_TALKS in (payload.get("Env") or ())
        self.behaviour = behaviour
        self.created_ns = created_ns
        self.started_ns = 0
        self.finished_ns = 0
        self.status = "created"
        self.exit_code = 0
        self.oom_killed = False
        self.error = ""
        self.pid = 0
        self.address = ""
        self.network: FakeNetwork | None = None
        self.log = OutputLog()
        self.files: dict[str, bytes] = dict(behaviour.files)
        #: those that were put in, by their paths, with their time stamps
        self.folders: dict[str, float] = {}
        #: what is still to be printed, and the one timer of this container
        self.timeline: Iterator[tuple[float, int, bytes]] = iter(())
        self.timer: asyncio.TimerHandle | None = None
        self.waiters: list[Callable[[], None]] = []
        self.on_removed: list[Callable[[], None]] = []

    @property
    def payload(self) -> dict[str, Any]:
        """The body of its create call: device requests, limits, environment and all."""
        body: dict[str, Any] = orjson.loads(self._raw)
        return body

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def network_name(self) -> str:
        """The network it is to be on; the engine's own bridge where none is named."""
        return "bridge" if self.network_mode == "default" else self.network_mode

    def wanted_address(self) -> str:
        """The address that its create call asks for on its network, or nothing."""
        endpoints = (self.payload.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        endpoint = endpoints.get(self.network_mode) or {}
        return str((endpoint.get("IPAMConfig") or {}).get("IPv4Address") or "")

    def attributes(self, **more: str) -> Mapping[str, str]:
        """What its events say of it; one mapping for all that say no more."""
        return {**self._attributes, **more} if more else self._attributes

    def inspected(self) -> dict[str, Any]:
        """As GET /containers/{id}/json answers."""
        body = self.payload
        host = body.pop("HostConfig", None) or {}
        networking = body.pop("NetworkingConfig", None) or {}
        argv = [*(body.get("Entrypoint") or self.image.image.entrypoint or ())]
        argv += body.get("Cmd") or ([] if body.get("Entrypoint") else self.image.image.command) or []
        body = {"Tty": False, "OpenStdin": False, "User": "", "WorkingDir": "", "Entrypoint": None, **body}
        body["Hostname"] = body.get("Hostname") or self.id[:12]
        return {
            "Id": self.id,
            "Created": short_stamp(self.created_ns),
            "Path": argv[0] if argv else "",
            "Args": argv[1:],
            "State": {
                "Status": self.status,
                "Running": self.is_running,
                "Paused": False,
                "Restarting": False,
                "OOMKilled": self.oom_killed,
                "Dead": False,
                "Pid": self.pid,
                "ExitCode": self.exit_code,
                "Error": self.error,
                "StartedAt": short_stamp(self.started_ns),
                "FinishedAt": short_stamp(self.finished_ns),
            },
            "Image": self.image.image.image_id,
            "Name": f"/{self.name}",
            "RestartCount": 0,
            "Driver": "overlay2",
            "Platform": "linux",
            "HostConfig": {"NetworkMode": "default", **host},
            "Mounts": [],
            "Config": body,
            "NetworkSettings": {"Networks": {self.network_name: self._endpoint(networking)}},
        }

    def statistics(self, at_ns: int) -> dict[str, Any]:
        """As GET /containers/{id}/stats answers, on cgroup v1: of one that keeps a tenth of a core busy."""
        if not self.is_running:
            return {
                "read": _NEVER,
                "cpu_stats": {"cpu_usage": {"total_usage": 0}},
                "memory_stats": {},
                "blkio_stats": {"io_service_bytes_recursive": None},
            }
        ran_ns = max(at_ns - self.started_ns, 0)
        said: dict[str, Any] = {
            "read": short_stamp(at_ns),
            "cpu_stats": {"cpu_usage": {"total_usage": ran_ns // 10}, "online_cpus": 2},
            "memory_stats": {
                "usage": 3 << 20,
                "limit": int((self.payload.get("HostConfig") or {}).get("Memory") or 1 << 33),
                "stats": {"inactive_file": 4096, "total_inactive_file": 1 << 20},
            },
            "blkio_stats": {"io_service_bytes_recursive": []},
        }
        if self.network_mode not in ("host", "none"):
            said["networks"] = {"eth0": {"rx_bytes": ran_ns // 1_000_000, "tx_bytes": 0}}
        return said

    def _endpoint(self, networking: Mapping[str, Any]) -> dict[str, Any]:
        asked = (networking.get("EndpointsConfig") or {}).get(self.network_mode) or {}
        return {
            "IPAMConfig": asked.get("IPAMConfig"),
            "Aliases": [*(asked.get("Aliases") or ()), self.id[:12]],
            "NetworkID": self.network.id if self.network else "",
            "IPAddress": self.address,
            "Gateway": str(self.network.gateway or "") if self.network else "",
        }

    def listed(self, *, with_size: bool) -> dict[str, Any]:
        """As a row of GET /containers/json."""
        sizes = {"SizeRw": sum(map(len, self.files.values()))} if with_size else {}
        return {
            **sizes,
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Image": self.image_reference,
            "ImageID": self.image.image.image_id,
            "Command": "",
            "Created": self.created_ns // 1_000_000_000,
            "Ports": [],
            "Labels": self.labels,
            "State": self.status,
            "Status": f"Exited ({self.exit_code})" if self.status == "exited" else self.status.capitalize(),
            "HostConfig": {"NetworkMode": self.network_mode},
            "NetworkSettings": {"Networks": {self.network_name: {"IPAddress": self.address}}},
            "Mounts": [],
        }


def _device_text(request: Mapping[str, Any]) -> str:
    capabilities = " ".join(f"[{' '.join(each)}]" for each in request.get("Capabilities") or ())
    return f'"{request.get("Driver") or ""}" with capabilities: [{capabilities}]'
