"""POST /images/create: a pull told line by line, as slowly as its registry is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from tests.lab.fake_engine.behaviour import Refusal
from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.http_server import Reply, Request
from tests.lab.fake_engine.images import NO_PLATFORM, ImageName, RemoteImage, parsed_name

_DOWNLOAD_STEPS = 4


def pull(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    """Answer a pull."""
    name = parsed_name(request.query.get("fromImage", ""), request.query.get("tag", ""))
    answer = engine.registries.answer(name, request.headers)
    if isinstance(answer, Refusal):
        reply.refuse(answer.status, answer.message)
        return
    reply.begin("application/json")
    _Pull(engine, name, answer, reply).go_on()


class _Pull:
    def __init__(self, engine: FakeEngine, name: ImageName, remote: RemoteImage, reply: Reply) -> None:
        self._engine = engine
        self._name = name
        self._remote = remote
        self._reply = reply
        self._lines = list(self._story())
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        reply.gone = self._stop

    def go_on(self) -> None:
        """Send what is due, and the rest when it is."""
        seconds = self._remote.seconds / self._engine.time_scale / max(1, len(self._lines))
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            self._reply.chunk(orjson.dumps(line) + b"\r\n")
            if seconds:
                self._timer = asyncio.get_running_loop().call_later(seconds, self.go_on)
                return
        if not self._remote.stalls:
            self._finish()

    def _finish(self) -> None:
        image = self._remote.image
        if image.platform == "linux/amd64" and not self._remote.error:
            is_new = self._engine.images.add_pulled(image, self._name)
            shown = f"{self._name.shown}:{self._name.tag}"
            said = "Downloaded newer image for" if is_new else "Image is up to date for"
            self._reply.chunk(orjson.dumps({"status": f"Status: {said} {shown}"}) + b"\r\n")
        self._reply.end()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _story(self) -> Iterator[dict[str, Any]]:
        remote, name = self._remote, self._name
        yield {"status": f"Pulling from {name.path}", "id": name.digest or name.tag}
        if remote.image.platform != "linux/amd64":
            yield _error(NO_PLATFORM)
            return
        layers = [(_layer_id(remote.image.reference, each), size) for each, size in enumerate(remote.layers)]
        if self._engine.images.find(name.key.removeprefix("docker.io/")) is None:
            for layer, _ in layers:
                yield {"status": "Pulling fs layer", "progressDetail": {}, "id": layer}
            broken = bool(remote.error or remote.stalls)
            for layer, size in layers[: (len(layers) + 1) // 2] if broken else layers:
                yield from _fetched(layer, size, whole=not broken)
            if broken:
                if remote.error:
                    yield _error(remote.error)
                return
        yield {"status": f"Digest: {remote.image.digest}"}


def _fetched(layer: str, size: int, *, whole: bool) -> Iterator[dict[str, Any]]:
    steps = range(1, _DOWNLOAD_STEPS + 1) if whole else range(1, _DOWNLOAD_STEPS // 2 + 1)
    for step in steps:
        yield _progress("Downloading", layer, size * step // _DOWNLOAD_STEPS, size)
    if whole:
        yield {"status": "Verifying Checksum", "progressDetail": {}, "id": layer}
        yield {"status": "Download complete", "progressDetail": {}, "id": layer}
        yield _progress("Extracting", layer, size, size)
        yield {"status": "Pull complete", "progressDetail": {}, "id": layer}


def _progress(status: str, layer: str, done: int, size: int) -> dict[str, Any]:
    detail = {"current": done, "total": size}
    return {"status": status, "progressDetail": detail, "progress": f"{done}B/{size}B", "id": layer}


def _error(message: str) -> dict[str, Any]:
    return {"errorDetail": {"message": message}, "error": message}


def _layer_id(reference: str, number: int) -> str:
    return hashlib.sha256(f"{reference} {number}".encode()).hexdigest()[:12]
