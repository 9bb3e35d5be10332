"""A file tree as an image whose id follows from what is in the tree, and from nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import DockerException

from deploy.processes import SetupError

#: As images name this machine's kind; others are named by the kernel as they are here.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def load_tree(
    engine: docker.DockerClient, root: Path, name: str, config: Mapping[str, Any], *, newest_mtime: int
) -> None:
    """Make a tree the image `name`. `config` is the image's own (OCI image specification, "config").

    Files that are newer than `newest_mtime` (s) get that time: they were made here, not taken from a package. It
    must not be older than any Python source, whose compiled form holds its time. Raises SetupError where the
    engine does not take it.
    """
    with tempfile.TemporaryFile() as layer, tempfile.TemporaryFile() as archive:
        packed = subprocess.run(
            [
                *("tar", "-C", str(root), "--sort=name", "--numeric-owner", "--format=gnu"),
                *(f"--mtime=@{newest_mtime}", "--clamp-mtime", "-c", "."),
            ],
            stdout=layer,
            stderr=subprocess.PIPE,
            check=False,
        )
        if packed.returncode != 0:
            raise SetupError(f"{name} could not be packed: {packed.stderr.decode('utf-8', 'replace')[-500:]}")
        write_archive(archive, layer, name, config)
        archive.seek(0)
        try:
            engine.images.load(archive)
        except DockerException as error:
            raise SetupError(
                f"the engine did not take {name}: {error}; see that its disk is not full (`df -h`)"
            ) from error


def write_archive(archive: IO[bytes], layer: IO[bytes], name: str, config: Mapping[str, Any]) -> None:
    """As `docker load` takes it: the image's configuration, its one layer, and what names them."""
    size = layer.seek(0, io.SEEK_END)
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()  # type: ignore[arg-type]  # any file will do
    kind = platform.machine()
    about = {
        "architecture": _ARCHITECTURES.get(kind, kind),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=archive, mode="w") as packed:
        for member, text in (("config.json", about), ("manifest.json", manifest)):
            content = json.dumps(text, sort_keys=True).encode()
            _add(packed, member, len(content), io.BytesIO(content))
        layer.seek(0)
        _add(packed, "layer.tar", size, layer)


def _add(packed: tarfile.TarFile, member: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(member)
    entry.size = size
    packed.addfile(entry, content)
