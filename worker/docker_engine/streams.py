"""The long reads over aiodocker, for the supervisor: events, log frames, pulls; and its few short calls."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tarfile
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from core.errors import ContainerGone, EngineError, NodeUnreachable
from core.log_records import RecordColumns
from core.nodes import EngineFacts
from worker.docker_engine.calls import EngineCalls, gathered, json_lines
from worker.docker_engine.disk_probe import DiskProbe
from worker.docker_engine.facts import (
    DEFAULT_BRIDGE,
    FreeSpace,
    engine_facts,
    engine_time,
    free_space,
    observation,
)
from worker.docker_engine.faults import pull_fault
from worker.docker_engine.log_frames import NANOSECONDS, FrameReader, ProgramOutput
from worker.docker_engine.transport import EngineAccess
from worker.docker_engine.usage import usage_of
from worker.engine import LABEL_INSTALLATION, LABEL_NETWORK, Observation, RankKey, Usage
from worker.image_names import is_named

#: The engine's word on what is at a path, as JSON in base64.
_PATH_STAT = "X-Docker-Container-Path-Stat"
_ARCHIVE_BYTES = 1 << 20


@dataclass(frozen=True)
class ContainerEvent:
    """`action` is the engine's: start, die, oom, kill. `labels` are all its attributes, as `signal`
    and `exitCode`."""

    key: RankKey
    container_id: str
    action: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ListedContainer:
    """One row of a listing by label. `key` None: it bears our label, and a name that no rank has."""

    name: str
    key: RankKey | None
    container_id: str
    status: str
    created_at: datetime
    labels: Mapping[str, str]


@dataclass(frozen=True)
class PullStep:
    """One line of a pull's progress: a layer, what happens to it, bytes done and bytes in all."""

    layer: str
    status: str
    done_bytes: int
    total_bytes: int


class DockerStreams:
    """One engine as its supervisor reads it. Raises NodeUnreachable wherever the engine does not answer."""

    def __init__(
        self,
        endpoint: str,
        installation: str,
        *,
        timeout_seconds: float,
        access: EngineAccess | None = None,
        probe_image: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._installation = installation
        self._calls = EngineCalls(endpoint, timeout_seconds=timeout_seconds, access=access)
        self._call = self._calls.call
        self._probe = DiskProbe(self._call, installation, probe_image)

    async def close(self) -> None:
        """Close every connection, streams under way too."""
        await self._calls.close()

    async def version(self) -> str:
        """The engine's version, which also says that it answers."""
        async with self._call("version", "version") as response:
            return str((await response.json())["Version"])

    async def facts(self) -> EngineFacts:
        """What the engine says of itself and its host, and its free disk where that can be known."""
        free: FreeSpace | None = None
        try:
            async with self._call("info", "info") as response:
                info = orjson.loads(await response.read())
            bridge = await self._default_bridge()
            if self._endpoint.startswith("unix://"):
                with contextlib.suppress(OSError):
                    free = await asyncio.to_thread(free_space, info["DockerRootDir"])
            else:
                free = await self._probe.free_space()
            return engine_facts(info, free, bridge)
        except (ContainerGone, KeyError, TypeError, ValueError) as error:
            raise EngineError(f"what answers at {self._endpoint} is not a Docker engine") from error

    async def _default_bridge(self) -> Mapping[str, Any] | None:
        """None where the engine was told to have none."""
        async with self._call("network", f"networks/{DEFAULT_BRIDGE}", missing_ok=True) as response:
            if response.status == 404:
                return None
            found: Mapping[str, Any] = orjson.loads(await response.read())
            return found

    async def list_containers(self) -> list[ListedContainer]:
        """Every container of this installation, running or not."""
        return [_listed(row) for row in await self._list("containers/json", all="1")]

    async def written_bytes(self) -> dict[RankKey, int]:
        """What each running rank has written into its container's own file system. The engine walks through all
        that was written to say so: not to be asked without need."""
        rows = await self._list("containers/json", size="1")
        keys = ((RankKey.from_container_name(row["Names"][0]), row) for row in rows if row["Names"])
        return {key: int(row.get("SizeRw") or 0) for key, row in keys if key is not None}

    async def list_gang_networks(self, *, of_swarm: bool = True) -> list[str]:
        """The names of this installation's gang networks; those of a swarm too, if wanted."""
        rows = await self._list("networks", f"{LABEL_NETWORK}=gang")
        return [row["Name"] for row in rows if of_swarm or row.get("Scope") != "swarm"]

    async def events(self) -> AsyncIterator[ContainerEvent]:
        """What happens to this installation's containers from now on; ends when the engine goes away.

        The engine drops events for slow listeners, so whoever listens must list as well.
        """
        filters = orjson.loads(self._filters())
        filters |= {"type": ["container"], "event": ["start", "die", "oom", "kill"]}
        params = {"filters": orjson.dumps(filters).decode()}
        async with self._call("events", "events", params=params, stream=True) as response:
            async for line in json_lines(response):
                attributes = line["Actor"]["Attributes"]
                key = RankKey.from_container_name(attributes.get("name", ""))
                if key is not None:
                    yield ContainerEvent(key, line["Actor"]["ID"], line["Action"], attributes)

    async def log_pieces(
        self,
        container: str,
        *,
        since_ns: int,
        follow: bool,
        last: int | None = None,
        on_end: Callable[[bool], None] | None = None,
    ) -> AsyncGenerator[RecordColumns, None]:
        """Output from a time stamp on (inclusive), to its end or for ever; at once, whatever frames have come.

        `last`: no more than so many frames of what there is by now. `on_end` is told whether a signal ended the
        program, where the container's init has said so. Where an engine goes away between two frames, what is
        followed may just end.
        """
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
        if last is not None:
            params["tail"] = str(last)
        if since_ns:
            params["since"] = f"{since_ns // NANOSECONDS}.{since_ns % NANOSECONDS:09d}"
        reader, output = FrameReader(), ProgramOutput(on_end)
        path = f"containers/{container}/logs"
        async with self._call(
            "logs", path, params=params, stream=follow, is_long=not follow, until_closed=follow
        ) as response:
            async for piece in gathered(response) if follow else response.content.iter_any():
                frames = output.take_all(reader.feed(piece))
                if frames:
                    yield frames
            if reader.is_within_a_frame:
                raise asyncio.IncompleteReadError(b"", None)
            # Following may stop short of what there is: what is held back then, the next reading will have.
            held = RecordColumns.of(output.rest()) if not follow else ()
            if held:
                yield held

    async def observe(self, container: str) -> Observation | None:
        """The container by id or name; None where it is not there."""
        async with self._call("inspect", f"containers/{container}/json", missing_ok=True) as response:
            if response.status == 404:
                return None
            return observation(orjson.loads(await response.read()))

    async def usage(self, container: str) -> Usage | None:
        """What the container has used so far; None where it is not there, or does not run.

        Engines with a collector (20.10) answer at its next turn, within a second; without `one-shot` one later.
        """
        params = {"stream": "false", "one-shot": "true"}
        path = f"containers/{container}/stats"
        try:
            async with self._call("stats", path, params=params, missing_ok=True) as response:
                return None if response.status == 404 else usage_of(orjson.loads(await response.read()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(f"what {self._endpoint} says of a container's usage cannot be read") from error

    async def remove(self, container: str) -> None:
        """Remove the container, running or not, if it is there."""
        params = {"v": "1", "force": "1"}
        path = f"containers/{container}"
        async with self._call("remove", path, method="DELETE", params=params, missing_ok=True):
            pass

    async def remove_network(self, name: str) -> None:
        """Remove the network if it is there."""
        try:
            async with self._call("network", f"networks/{name}", method="DELETE", missing_ok=True):
                pass
        except EngineError as error:
            # A manager lists a network of its swarm for a moment after it is gone, and says so with status 500.
            if isinstance(error, NodeUnreachable) or "not found" not in str(error):
                raise

    async def read_file(self, container: str, path: str, *, limit_bytes: int) -> bytes | None:
        """A file of the container, running or ended; None where there is none.

        Raises EngineError where the file is larger than `limit_bytes`.
        """
        params = {"path": path}
        archive = f"containers/{container}/archive"
        async with self._call("archive", archive, params=params, missing_ok=True) as response:
            if response.status == 404:
                return None
            packed = bytearray()
            async for piece in response.content.iter_any():
                packed += piece
                if len(packed) > limit_bytes + 10_240:
                    raise EngineError(f"{path} is larger than {limit_bytes} bytes and was not kept")
        with tarfile.open(fileobj=io.BytesIO(bytes(packed))) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member is not None else None
            return file.read() if file is not None else None

    async def changed_at(self, container: str, path: str) -> datetime | None:
        """When something was last made in, or taken out of, a folder of the container, running or ended; None
        where nothing is at that path. An engine answers this without reading anything."""
        with contextlib.suppress(json.JSONDecodeError):
            return await self._changed_at("HEAD", container, path)
        # aiodocker finds no words in the refusal of a HEAD, nor says what status it had; that of a GET has both.
        return await self._changed_at("GET", container, path)

    async def _changed_at(self, method: str, container: str, path: str) -> datetime | None:
        archive = f"containers/{container}/archive"
        params = {"path": path}
        async with self._call("archive", archive, method=method, params=params, missing_ok=True) as response:
            if response.status == 404:
                return None
            try:
                return engine_time(orjson.loads(b64decode(response.headers[_PATH_STAT]))["mtime"])
            except (KeyError, TypeError, ValueError) as error:
                raise EngineError(f"what {self._endpoint} says of {path} cannot be read") from error

    async def archive(self, container: str, path: str) -> AsyncGenerator[bytes, None]:
        """A tar of what is at a path of the container, running or ended, in pieces of about a mebibyte; nothing
        where nothing is there. An engine that is silent for long is one that does not answer."""
        archive = f"containers/{container}/archive"
        params = {"path": path}
        async with self._call("archive", archive, params=params, is_long=True, missing_ok=True) as response:
            piece = bytearray()
            while response.status != 404:
                read = await response.content.read(_ARCHIVE_BYTES)
                piece += read
                if piece and (len(piece) >= _ARCHIVE_BYTES or not read):
                    yield bytes(piece)
                    piece.clear()
                if not read:
                    return

    async def pull(self, image_ref: str, headers: Mapping[str, str]) -> AsyncIterator[PullStep]:
        """Pull an image, step by step. Raises the EngineError that says why it failed."""
        params = {"fromImage": image_ref}
        if "@" not in image_ref and ":" not in image_ref.rpartition("/")[2]:
            params["tag"] = "latest"  # without one the engine pulls every tag there is
        refused = ""
        try:
            async with self._call(
                "pull", "images/create", method="POST", params=params, headers=headers, stream=True
            ) as response:
                async for line in json_lines(response):
                    if "error" in line:
                        refused = line["error"] or "no reason given"
                        break
                    detail = line.get("progressDetail") or {}
                    yield PullStep(
                        line.get("id", ""),
                        line.get("status", ""),
                        int(detail.get("current") or 0),
                        int(detail.get("total") or 0),
                    )
        except NodeUnreachable:
            raise
        except EngineError as error:
            # The engine's word for a refused pull can be a status as well as a line of the stream.
            known = type(error) not in (EngineError, ContainerGone)
            raise error if known else pull_fault(image_ref, str(error).removeprefix("pull failed: ")) from None
        if refused:
            raise pull_fault(image_ref, refused)

    async def has_image(self, image_ref: str) -> bool:
        """Whether the image is on the node."""
        async with self._call("image", f"images/{image_ref}/json", missing_ok=True) as response:
            return response.status == 200 and is_named(image_ref, orjson.loads(await response.read()))

    async def ask_registry(self, image_ref: str, headers: Mapping[str, str]) -> None:
        """Ask an image's registry for its manifest, which answers only whoever may have the image; pulls nothing.

        Raises RegistryDenied, ImageNotFound, RegistryUnreachable, or another EngineError that is no yes either.
        """
        try:
            async with self._call("registry", f"distribution/{image_ref}/json", headers=headers):
                pass
        except NodeUnreachable:
            raise
        except EngineError as error:
            raise pull_fault(image_ref, str(error).removeprefix("registry failed: ")) from None

    async def _list(self, path: str, *labels: str, **params: str) -> list[dict[str, Any]]:
        """What bears this installation's label, and those given."""
        async with self._call("list", path, params={**params, "filters": self._filters(*labels)}) as response:
            rows: list[dict[str, Any]] = orjson.loads(await response.read())
            return rows

    def _filters(self, *labels: str) -> str:
        wanted: Sequence[str] = (f"{LABEL_INSTALLATION}={self._installation}", *labels)
        return orjson.dumps({"label": list(wanted)}).decode()


def _listed(row: Mapping[str, Any]) -> ListedContainer:
    name = row["Names"][0].removeprefix("/") if row["Names"] else ""
    created_at = datetime.fromtimestamp(row["Created"], UTC)
    key = RankKey.from_container_name(name)
    return ListedContainer(name, key, row["Id"], row["State"], created_at, row["Labels"])
