"""The engines of a run: the machine's own, the same by way of a proxy, or hosts of its own that may be killed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.lab.hosts import Hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import ENGINE
from tests.lab.proxy import ReplyProxy


@dataclass(frozen=True)
class EnginesWanted:
    """`hosts` 0 = the machine's own engine, which serves others as well and must not be harmed."""

    hosts: int = 0
    live_restore: bool = False
    #: the platform reaches the machine's engine by a proxy only
    proxied: bool = False


class Engines:
    """Where the platform reaches them (`endpoints`), and where everybody else does (`sockets`)."""

    def __init__(self, wanted: EnginesWanted, folder: Path) -> None:
        self._hosts: Hosts | None = None
        self._proxy: ReplyProxy | None = None
        self.endpoints: tuple[str, ...] = (ENGINE,)
        self.sockets: tuple[str, ...] = (ENGINE,)
        #: of the platform
        self.settings: Mapping[str, Any] = {}
        #: of the pool; hosts of a run are in no swarm
        self.network = ""
        if wanted.proxied:
            path = folder / "engine.sock"
            self._proxy = ReplyProxy(Path(urlsplit(ENGINE).path), at=path)
            self.endpoints = (f"unix://{path}",)
        elif wanted.hosts:
            self._hosts = Hosts(wanted.hosts, live_restore=wanted.live_restore)
            self.endpoints = tuple(host.endpoint for host in self._hosts.hosts)
            self.sockets = tuple(host.socket for host in self._hosts.hosts)
            self.network = "host"
            self.settings = {
                "docker_certs": self._hosts.client_certificates,
                "disk_probe_image": BUSYBOX,
                "min_free_disk_bytes": 1 << 20,
                "min_free_inodes": 100,
            }

    @property
    def hosts(self) -> Hosts:
        """Those that were asked for."""
        assert self._hosts is not None
        return self._hosts

    @property
    def proxy(self) -> ReplyProxy:
        """The one that was asked for."""
        assert self._proxy is not None
        return self._proxy

    def by_name(self) -> dict[str, str]:
        """Past the proxies, by the names that the nodes have."""
        return {f"node-{number}" if number else "local": socket for number, socket in enumerate(self.sockets)}

    def end(self) -> None:
        """End what was started here."""
        if self._proxy is not None:
            self._proxy.close()
        if self._hosts is not None:
            with contextlib.suppress(ProcessLookupError):
                self._hosts.end()
