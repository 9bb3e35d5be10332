"""The calls about containers: from a request to the engine's verb, and to the answer."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import signal
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from tests.lab.fake_engine.container import FakeContainer
from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.events import has_labels
from tests.lab.fake_engine.http_server import Reply, Request
from tests.lab.fake_engine.logs import frame
from tests.lab.fake_engine.networks import Refused
from tests.lab.fake_engine.parameters import filters_of, flag_of, moment_of
from tests.lab.fake_engine.stamps import now_ns


def list_containers(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    said = filters_of(request, frozenset({"label", "name", "id", "status", "network"}))
    labels, names = tuple(said.get("label", ())), [re.compile(each) for each in said.get("name", ())]
    statuses, ids = said.get("status"), said.get("id")
    everyone = flag_of(request, "all") or bool(statuses)
    rows = [
        container.listed(with_size=flag_of(request, "size"))
        for container in sorted(engine.containers.values(), key=lambda each: -each.created_ns)
        if (everyone or container.is_running)
        and (not statuses or container.status in statuses)
        and (not ids or any(container.id.startswith(each) for each in ids))
        and (not names or any(each.search(container.name) for each in names))
        and has_labels(container.labels, labels)
    ]
    reply.json(200, rows)


def create(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    name = request.query.get("name") or f"fake_{now_ns():x}"
    engine.create(name, request.body, lambda made: reply.json(201, {"Id": made.id, "Warnings": []}))


def inspect(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    reply.json(200, engine.container(subject).inspected())


def stats(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    # As with `one-shot` on an engine without a collector: at once.
    reply.json(200, engine.container(subject).statistics(now_ns()))


def start(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    reply.empty(204 if engine.start(engine.container(subject)) else 304)


def kill(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    number = _signal(request.query.get("signal") or "SIGKILL")
    try:
        engine.kill(engine.container(subject), number)
    except Refused as refused:
        refusal = refused.refusal
        raise Refused(refusal.status, f"Cannot kill container: {subject}: {refusal.message}") from None
    reply.empty(204)


def _signal(name: str) -> int:
    if name.isdigit():
        return int(name)
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise Refused(400, f"Invalid signal: {name}") from None


def stop(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    container = engine.container(subject)
    if not container.is_running:
        reply.empty(304)
        return
    container.waiters.append(lambda: reply.empty(204))
    engine.kill(container, signal.SIGTERM)
    grace = float(request.query.get("t") or 10) / engine.time_scale

    def kill() -> None:
        if container.is_running:
            engine.kill(container, signal.SIGKILL)

    asyncio.get_running_loop().call_later(grace, kill)


def wait(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    container = engine.container(subject)
    condition = request.query.get("condition") or "not-running"

    def tell() -> None:
        if not reply.closed:
            reply.chunk(orjson.dumps({"Error": None, "StatusCode": container.exit_code}) + b"\n")
            reply.end()

    reply.begin("application/json")
    if condition == "removed":
        container.on_removed.append(tell)
    elif container.is_running or condition == "next-exit":
        container.waiters.append(tell)
    else:
        tell()


def remove(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    container = engine.container(subject)
    engine.remove(container, subject, force=flag_of(request, "force"), done=lambda: reply.empty(204))


def logs(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    container = engine.container(subject)
    streams = frozenset(number for number, name in ((1, "stdout"), (2, "stderr")) if flag_of(request, name))
    if not streams:
        raise Refused(400, "Bad parameters: you must choose at least one stream")
    since, stamped = moment_of(request, "since") or 0, flag_of(request, "timestamps")
    records = container.log.records(streams, since)
    tail = request.query.get("tail", "all")
    if tail.isdigit():
        records = records[-int(tail) :] if int(tail) else []
    reply.begin()
    reply.chunk(b"".join(frame(record, stamped=stamped) for record in records))
    if not (flag_of(request, "follow") and container.is_running):
        reply.end()
        return

    def follow(record: tuple[int, int, bytes] | None) -> None:
        if record is None:
            reply.end()
        elif record[1] in streams and record[0] >= since:
            reply.chunk(frame(record, stamped=stamped))

    container.log.followers.append(follow)
    reply.gone = lambda: _unfollow(container, follow)


def _unfollow(container: FakeContainer, follow: Callable[[tuple[int, int, bytes] | None], None]) -> None:
    if follow in container.log.followers:
        container.log.followers.remove(follow)


def put_archive(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    container = engine.container(subject)
    folder = request.query.get("path", "/")
    if not _has_path(container, folder):
        raise Refused(404, f"Could not find the file {folder} in container {subject}")
    try:
        with tarfile.open(fileobj=io.BytesIO(request.body)) as packed:
            for member in packed:
                path = f"{folder.rstrip('/')}/{member.name.strip('/')}"
                if member.isdir():
                    container.folders[path] = member.mtime
                    continue
                file = packed.extractfile(member) if member.isfile() else None
                container.files[path] = file.read() if file else b""
    except tarfile.TarError:
        raise Refused(500, "Error processing tar file(exit status 1): archive/tar: invalid tar header") from None
    reply.empty(200)


def get_archive(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    container = engine.container(subject)
    path = request.query.get("path", "")
    if not _has_path(container, path):
        raise Refused(404, f"Could not find the file {path} in container {subject}")
    bare = path.rstrip("/")
    name = bare.rpartition("/")[2]
    below = {each: content for each, content in container.files.items() if each.startswith(f"{bare}/")}
    is_file = bare in container.files
    changed = container.folders.get(bare, 0.0) if not below else container.created_ns / 1e9
    stat = {
        "name": name,
        "size": len(container.files.get(bare, b"")),
        # As Go has it: the highest bit is a folder's.
        "mode": 0o644 if is_file else 1 << 31 | 0o755,
        "mtime": datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "linkTarget": "",
    }
    headers = {"X-Docker-Container-Path-Stat": base64.b64encode(orjson.dumps(stat)).decode()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        if not is_file:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for each, content in sorted({bare: container.files[bare]}.items() if is_file else below.items()):
            entry = tarfile.TarInfo(name + each.removeprefix(bare))
            entry.size, entry.mtime = len(content), int(changed)
            tar.addfile(entry, io.BytesIO(content))
    reply.data(200, packed.getvalue(), "application/x-tar", headers)


def _has_path(container: FakeContainer, path: str) -> bool:
    bare = path.rstrip("/") or "/"
    there = container.image.image.paths
    if bare in there or bare in container.files or bare in container.folders:
        return True
    return any(each.startswith(f"{bare}/") for each in container.files)
