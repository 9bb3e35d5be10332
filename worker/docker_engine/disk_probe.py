"""The free disk of an engine on another host: asked by a container's `df`, as the engine's API does not say.

A container's root lies where the engine keeps its data. The probe needs an image with a shell and `df` that is on
the node already; it pulls nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import orjson

from core.errors import ContainerGone, DiskFull, EngineError, NodeUnreachable
from worker.docker_engine.facts import FreeSpace

LABEL_PROBE = "longshore.probe"
_COMMAND = ["/bin/sh", "-c", "df -Pk / | tail -n 1; df -Pi / | tail -n 1"]
_MEMORY_BYTES = 32 << 20

Call = Callable[..., AbstractAsyncContextManager[aiohttp.ClientResponse]]


class DiskProbe:
    """`call` is the engine's; `name` is the one container that a probe can be, so that none is left twice."""

    def __init__(self, call: Call, installation: str, image: str) -> None:
        self._call = call
        self._name = f"ls-probe-{installation}"
        self._labels = {LABEL_PROBE: installation}
        self._image = image

    async def free_space(self) -> FreeSpace | None:
        """What is free; None where the image is not there or the probe does not come about."""
        if not self._image:
            return None
        try:
            await self._remove()
            container = await self._create()
            if container is None:
                return None
            try:
                return await self._output(container)
            finally:
                await self._remove()
        except NodeUnreachable:
            raise
        except DiskFull:
            return FreeSpace(0, None)
        except (EngineError, ValueError, IndexError):
            return None

    async def _create(self) -> str | None:
        body: dict[str, Any] = {
            "Image": self._image,
            "Entrypoint": _COMMAND,
            "Labels": self._labels,
            "HostConfig": {
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Memory": _MEMORY_BYTES,
                "PidsLimit": 16,
                "LogConfig": {"Type": "json-file", "Config": {}},
            },
        }
        params = {"name": self._name}
        try:
            async with self._call(
                "create",
                "containers/create",
                method="POST",
                params=params,
                headers={"Content-Type": "application/json"},
                data=orjson.dumps(body),
            ) as made:
                return str(orjson.loads(await made.read())["Id"])
        except ContainerGone:  # the engine's word for an image that it has not got
            return None

    async def _output(self, container: str) -> FreeSpace:
        for what, path in (("start", "start"), ("wait", "wait")):
            async with self._call(what, f"containers/{container}/{path}", method="POST") as done:
                await done.read()
        params = {"stdout": "1"}
        async with self._call("logs", f"containers/{container}/logs", params=params) as printed:
            return parse_df(_without_frames(await printed.read()))

    async def _remove(self) -> None:
        params = {"v": "1", "force": "1"}
        path = f"containers/{self._name}"
        async with self._call("remove", path, method="DELETE", params=params, missing_ok=True):
            pass


def parse_df(printed: str) -> FreeSpace:
    """Two lines of `df -P` (POSIX): sizes in KiB, then inodes, `-` or 0 of which are those that nobody counts.

    Raises ValueError or IndexError where they are something else.
    """
    sizes, inodes = (line.split() for line in printed.strip().splitlines())
    counts = inodes[1].isdigit() and int(inodes[1]) > 0
    return FreeSpace(int(sizes[3]) * 1024, int(inodes[3]) if counts else None)


def _without_frames(raw: bytes) -> str:
    """The bytes of multiplexed output (Engine API, "Attach to a container")."""
    text = b""
    while len(raw) >= 8:
        size = int.from_bytes(raw[4:8], "big")
        text, raw = text + raw[8 : 8 + size], raw[8 + size :]
    return text.decode("utf-8", "replace")
