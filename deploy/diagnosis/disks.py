"""Room on disks: of the state folder, of the object store, of the engine, and of the nodes by their rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from client.findings import Finding, fault, ok, unchecked, warning, worst
from core.errors import LongshoreError
from core.object_store import ObjectStore
from deploy.diagnosis.site import Site
from worker.docker_engine.facts import FreeSpace, free_space

#: With less, whoever writes there fails soon, a database among them.
_FULL_BYTES, _FULL_INODES = 64 << 20, 1000
_STATE_CURE = "free disk there (logs are in its `log`), or move LONGSHORE_HOME to a larger disk"
_OBJECTS_CURE = (
    "delete old jobs, set LONGSHORE_RETENTION_DAYS, or name a larger store in LONGSHORE_OBJECT_STORE_URL"
)
_ENGINE_CURE = "run `docker image prune -a` there, which is safe: what is missing is pulled again"


@dataclass(frozen=True)
class _Least:
    """What a disk should have free."""

    disk_bytes: int
    inodes: int


def state_disk(site: Site) -> Finding:
    """The state folder, with the servers of our own, wherever their data is."""
    folders = [site.home.path, *(site.home.path / name for name in ("postgres", "valkey"))]
    least = _Least(site.settings.min_free_disk_bytes, site.settings.min_free_inodes)
    by_disk = {place.stat().st_dev: place for place in map(_nearest, reversed(folders))}
    return worst([_of_folder("the disk of", each, least, _STATE_CURE) for each in by_disk.values()])


def object_store(site: Site) -> Finding:
    """Whether what ended jobs leave can be kept: a folder is there with room, a bucket answers."""
    url = site.settings.object_store_url
    if not url:
        return ok("there is none: the database keeps what jobs leave")
    if not url.startswith("file:"):
        try:
            # A bucket is asked, and nothing is written: the doctor changes nothing.
            next(iter(ObjectStore(url).paths_below("doctor/")), None)
        except (LongshoreError, ValueError) as error:
            return fault(f"{url}: {error}", "correct LONGSHORE_OBJECT_STORE_URL or the provider's credentials")
        return ok(f"{url} answers")
    folder = Path(unquote(urlsplit(url).path))
    there = _nearest(folder)
    if not there.is_dir():
        return fault(f"{there} is no folder", "name another in LONGSHORE_OBJECT_STORE_URL, or take that file away")
    if not os.access(there, os.W_OK | os.X_OK):
        return fault(
            f"{there} cannot be written to",
            "mount it for writing and give it to the user of api and worker (`chown`), or name another folder",
        )
    least = _Least(site.settings.min_free_disk_bytes, site.settings.min_free_inodes)
    return _of_folder("the object store", there, least, _OBJECTS_CURE)


def engine_disk(site: Site) -> Finding:
    """Where the engine of this host keeps images and containers."""
    root = Path(str(site.engine.info.get("DockerRootDir") or ""))
    if not site.engine_endpoint.startswith("unix:") or not root.is_dir():
        return unchecked("the engine's disk cannot be seen from here; nodes tell their own")
    found = free_space(str(root))
    settings = site.settings
    floor = _Least(settings.min_free_disk_bytes, settings.min_free_inodes)
    if said := _below(found, floor):
        return fault(f"nothing new is placed on the engine: {root} has {said}", _ENGINE_CURE)
    if said := _below(found, _Least(2 * floor.disk_bytes, 2 * floor.inodes)):
        return warning(f"the engine's {root} has {said}", _ENGINE_CURE)
    return _of_folder("the engine's", root, _Least(0, 0), _ENGINE_CURE)


def node_disks(site: Site) -> Finding:
    """What the nodes' supervisors have seen last."""
    settings = site.settings
    floor = _Least(settings.min_free_disk_bytes, settings.min_free_inodes)
    findings: list[Finding] = []
    for node in site.nodes:
        if node.free_disk_bytes is None:
            continue
        found = FreeSpace(node.free_disk_bytes, node.free_inodes)
        if said := _below(found, floor):
            findings.append(fault(f"nothing new is placed on node {node.full_name}: {said}", _ENGINE_CURE))
        elif said := _below(found, _Least(2 * floor.disk_bytes, 2 * floor.inodes)):
            findings.append(warning(f"node {node.full_name} has {said}", _ENGINE_CURE))
    known = sum(node.free_disk_bytes is not None for node in site.nodes)
    return worst(findings) if findings else ok(f"{known} of {len(site.nodes)} nodes tell theirs, and have room")


def _of_folder(what: str, folder: Path, least: _Least, cure: str) -> Finding:
    found = free_space(str(folder))
    if said := _below(found, _Least(_FULL_BYTES, _FULL_INODES)):
        return fault(f"{what} {folder} is full: {said}", cure)
    if said := _below(found, least):
        return warning(f"{what} {folder} has {said}", cure)
    return ok(f"{what} {folder} has {_size(found.disk_bytes)} free")


def _below(found: FreeSpace, least: _Least) -> str:
    """What is free of that of which there is too little."""
    if found.disk_bytes < least.disk_bytes:
        return f"{_size(found.disk_bytes)} free"
    if found.inodes is not None and found.inodes < least.inodes:
        return f"{found.inodes} inodes free"
    return ""


def _nearest(folder: Path) -> Path:
    """The folder, or where it is not there yet, what it will be made in."""
    folder = folder.resolve()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"
