"""Images that tests run, made on the spot: nothing is pulled from outside."""

from __future__ import annotations

import io
import secrets
import shutil
import subprocess
import tarfile
from typing import Any

import docker

from deploy.tree_image import write_archive
from tests.lab.platform import ENGINE

BUSYBOX = "longshore-test/busybox:1"
#: A file system with one program and nothing else: no shell, no Python.
BARE = "longshore-test/bare:1"
#: BUSYBOX for a user that it does not have: containers of it can be created and not be started.
UNSTARTABLE = "longshore-test/unstartable:1"
#: Bytes that do not compress, in a layer that nothing else has: its pull takes a while.
BALLAST = "longshore-test/ballast:1"
PYTHON = "longshore/python:3"
NOTEBOOK = "longshore/notebook:3"
#: The notebook image with the notebooks and modules that tests run, under /work.
WORK = "longshore-test/work:1"


def ensure_busybox() -> None:
    """BUSYBOX and BARE on the engine, from Debian's static busybox."""
    engine: Any = docker.DockerClient(base_url=ENGINE)
    try:
        import_busybox(engine)
    finally:
        engine.close()


def import_busybox(engine: Any) -> None:
    """BUSYBOX and BARE on any engine that has not got them."""
    program = shutil.which("busybox")
    assert program, "busybox-static is not installed: tests/run installs it"
    if not engine.images.list(BUSYBOX):
        listing = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
        engine.images.load(_archive(BUSYBOX, _tree(program, listing.stdout.split())))
    if not engine.images.list(BARE):
        engine.images.load(_archive(BARE, _tree(program, [])))


def _archive(name: str, layer: bytes) -> bytes:
    """An image as `docker load` takes it. The same bytes make the same id on every engine, as an import does not:
    a job whose image has no registry runs by that id, on every host."""
    packed = io.BytesIO()
    write_archive(packed, io.BytesIO(layer), name, {})
    return packed.getvalue()


def import_weighted_busybox(engine: Any, name: str, size: int) -> None:
    """Busybox and so many bytes that do not compress, in a layer that nothing else has."""
    program = shutil.which("busybox")
    assert program, "busybox-static is not installed: tests/run installs it"
    packed = io.BytesIO(_tree(program, ["sh", "true"]))
    with tarfile.open(fileobj=packed, mode="a") as tar:
        _add(tar, "ballast", secrets.token_bytes(size))
    repository, _, tag = name.partition(":")
    engine.api.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)


def ensure_unstartable(engine: Any) -> None:
    """UNSTARTABLE on an engine that has BUSYBOX."""
    container = engine.containers.create(BUSYBOX, "true")
    try:
        container.commit(*UNSTARTABLE.split(":"), changes="USER nosuch")
    finally:
        container.remove()


def ensure_work(files: dict[str, str]) -> str:
    """WORK on the engine: the notebook image with `files` under /work. Rebuilt from the cache each time."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        _add(tar, "Dockerfile", f"FROM {NOTEBOOK}\nCOPY work /work\nWORKDIR /work\n".encode())
        for name, text in sorted(files.items()):
            _add(tar, f"work/{name}", text.encode())
    context.seek(0)
    engine: Any = docker.DockerClient(base_url=ENGINE)
    try:
        engine.images.build(fileobj=context, custom_context=True, tag=WORK, rm=True, forcerm=True)
    finally:
        engine.close()
    return WORK


def ensure_ballast(size: int) -> None:
    """BALLAST on the engine: a shell, and `size` random bytes."""
    program = shutil.which("busybox")
    assert program, "busybox-static is not installed: tests/run installs it"
    packed = io.BytesIO(_tree(program, ["sh"]))
    with tarfile.open(fileobj=packed, mode="a") as tar:
        _add(tar, "ballast", secrets.token_bytes(size))
    engine: Any = docker.DockerClient(base_url=ENGINE, timeout=120)
    try:
        engine.api.import_image_from_data(packed.getvalue(), repository=BALLAST[:-2], tag="1")
    finally:
        engine.close()


def _tree(program: str, applets: list[str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(program, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))
