"""From what an engine answers to our own values. Pure; both SDKs hand over the same JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.jobs.gang_networks import MANAGER, WORKER
from core.nodes import EngineFacts
from worker.engine import Observation
from worker.image_names import repository_of

_NEVER = "0001-01-01T00:00:00Z"
#: The network that an engine makes for itself.
DEFAULT_BRIDGE = "bridge"


def observation(inspected: Mapping[str, Any]) -> Observation:
    """From GET /containers/{id}/json."""
    state = inspected["State"]
    return Observation(
        container_id=inspected["Id"],
        status=state["Status"],
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        working_directory=inspected["Config"].get("WorkingDir") or "/",
        created_at=engine_time(inspected["Created"]),
        started_at=engine_time(state["StartedAt"]),
        ended_at=engine_time(state["FinishedAt"]),
    )


#: The names by which the container device interface knows each single GPU; `all` and UUIDs name them again.
_GPU_DEVICE = re.compile(r"nvidia\.com/gpu=\d+")


@dataclass(frozen=True)
class FreeSpace:
    """What is free where an engine keeps its data. A file system that counts no inodes never runs out of them."""

    disk_bytes: int
    inodes: int | None


def free_space(folder: str) -> FreeSpace:
    """What is free in a folder of this host for those who are not root. Raises OSError."""
    found = os.statvfs(folder)
    return FreeSpace(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def engine_facts(
    info: Mapping[str, Any], free: FreeSpace | None, bridge: Mapping[str, Any] | None = None
) -> EngineFacts:
    """From GET /info and GET /networks/bridge.

    Every start of an engine makes its default bridge anew, but for one that keeps containers and has some running:
    nothing else that it answers says when it was started.
    """
    swarm = info.get("Swarm") or {}
    role = ""
    if swarm.get("LocalNodeState") == "active":
        role = MANAGER if swarm.get("ControlAvailable") else WORKER
    devices = {str(device.get("ID", "")) for device in info.get("DiscoveredDevices") or ()}
    return EngineFacts(
        # Clones of one machine share the id that its engine once made.
        engine_id=f"{info['ID']} {info['Name']}",
        version=str(info["ServerVersion"]),
        cpu_count=int(info["NCPU"]),
        gpu_count=sum(_GPU_DEVICE.fullmatch(device) is not None for device in devices),
        memory_bytes=int(info["MemTotal"]),
        free_disk_bytes=None if free is None else free.disk_bytes,
        free_inodes=None if free is None else free.inodes,
        swarm_role=role,
        started_at=engine_time(bridge["Created"]) if bridge else None,
        keeps_containers=bool(info.get("LiveRestoreEnabled")),
    )


def engine_time(text: str) -> datetime | None:
    """An engine's time stamp, to the microsecond; None for its "never"."""
    if text == _NEVER or not text:
        return None
    seconds, nanos = split_time(text)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1000)


def split_time(text: str) -> tuple[int, int]:
    """RFC 3339 with up to nine fraction digits → seconds since the epoch, and nanoseconds of the second."""
    whole, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    second, _, fraction = whole.partition(".")
    moment = datetime.fromisoformat(second + zone)
    return int(moment.timestamp()), int(fraction.ljust(9, "0")[:9] or 0)


def digest_of(reference: str, inspected: Mapping[str, Any]) -> str:
    """`repository@sha256:…` of an image as its registry knows it, or the image's id where none does."""
    repository = repository_of(reference)
    for digest in inspected.get("RepoDigests") or ():
        if repository_of(digest) == repository:
            return str(digest)
    return str(inspected["Id"])


def command_of(inspected: Mapping[str, Any]) -> tuple[str, ...]:
    """What an image runs by itself: its entrypoint and its command, one after the other."""
    config = inspected.get("Config") or {}
    return (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))


def user_of(inspected: Mapping[str, Any]) -> str:
    """Whom an image runs its command as; "" is root."""
    return str((inspected.get("Config") or {}).get("User") or "")
