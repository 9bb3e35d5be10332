"""The first image, `longshore/python:3`: pulled, or, where no registry answers, built from Debian packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import docker
from docker.errors import DockerException, ImageNotFound

from deploy import packages
from deploy.processes import SetupError, tail
from deploy.tree_image import load_tree

PYTHON_IMAGE = "longshore/python:3"
_UPSTREAM = ("python", "3.12-slim-bookworm")
_SILENCE_SECONDS = 20.0
_SUITE = "bookworm"
_CONFIG = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
    "Cmd": ["python3"],
}
#: What a Debian tree has and a job does not need: 100 of 300 MB.
_PRUNED = (
    "var/cache/apt/archives", "var/lib/apt/lists", "var/log", "var/cache/debconf", "var/cache/ldconfig",
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/lintian", "tmp",
)  # fmt: skip


def has_image(engine: docker.DockerClient, name: str) -> bool:
    """Whether the engine has the image."""
    try:
        engine.images.get(name)
    except ImageNotFound:
        return False
    return True


def ensure_python_image(engine: docker.DockerClient) -> str:
    """Make PYTHON_IMAGE exist on the engine; a phrase that says how."""
    if has_image(engine, PYTHON_IMAGE):
        return f"{PYTHON_IMAGE} is there"
    refusal = _pull(engine)
    if refusal is None:
        engine.images.get(":".join(_UPSTREAM)).tag(*PYTHON_IMAGE.split(":"))
        return f"{PYTHON_IMAGE} pulled as {':'.join(_UPSTREAM)}"
    build_python_image(engine, refusal)
    return f"{PYTHON_IMAGE} built from Debian packages (no registry: {refusal})"


def build_python_image(engine: docker.DockerClient, why: str) -> None:
    """Install Debian with Python into a folder and load that. Raises SetupError where that cannot be done.

    The same packages make the same image, with the same id, on every machine: a gang over hosts runs one image,
    and this one comes from no registry that could see to that.
    """
    if not packages.can_install():
        raise SetupError(
            f"the image {':'.join(_UPSTREAM)} cannot be pulled ({why}), and building one needs root on Debian; "
            f"load an image with Python yourself and tag it {PYTHON_IMAGE}"
        )
    packages.install("debootstrap")
    with tempfile.TemporaryDirectory(prefix="longshore-root-") as folder:
        root = Path(folder) / "root"
        _debootstrap(root, Path(folder) / "debootstrap.log")
        _prune(root)
        _forget_the_machine(root)
        newest = max(file.stat().st_mtime for file in (root / "usr/lib").rglob("*.py"))
        load_tree(engine, root, PYTHON_IMAGE, _CONFIG, newest_mtime=int(newest))


def _pull(engine: docker.DockerClient) -> str | None:
    """Pull the upstream image; why not, when no registry answers or it falls silent."""
    progress: Queue[dict[str, str] | None] = Queue()

    def follow() -> None:
        # In a thread, since the SDK waits without end for the first byte of a pull.
        try:
            for line in _pull_progress(engine):
                progress.put(line)
        except (DockerException, OSError) as error:
            progress.put({"error": str(error)})
        progress.put(None)

    threading.Thread(target=follow, daemon=True).start()
    while True:
        try:
            line = progress.get(timeout=_SILENCE_SECONDS)
        except Empty:
            return f"no progress in {_SILENCE_SECONDS:.0f} s"
        if line is None:
            return None
        if "error" in line:
            # Engines wrap the cause in addresses and calls; what failed comes last.
            return line["error"].splitlines()[0].rpartition(": ")[2].strip('")')


def _pull_progress(engine: docker.DockerClient) -> Iterator[dict[str, str]]:
    name, tag = _UPSTREAM
    yield from engine.api.pull(name, tag=tag, stream=True, decode=True)


def _debootstrap(root: Path, log: Path) -> None:
    # No mirror is named: debootstrap has its own, and the host's apt configuration is what reaches it.
    command = [
        "debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", _SUITE, str(root),
    ]  # fmt: skip
    mirror = host_mirror()
    # Packages run Python and make files while they are installed: neither may depend on who installs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("wb") as file:
        ended = subprocess.run(
            [*command, mirror] if mirror else command,
            env=environment | {"LC_ALL": "C"}, umask=0o022,
            stdout=file, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if ended.returncode != 0:
        details = root / "debootstrap/debootstrap.log"
        raise SetupError(
            f"debootstrap failed; put that right and run this again: {tail(details, 3) or tail(log, 3)}"
        )
    python = root / "usr/local/bin/python"
    if not python.is_symlink():
        python.symlink_to("/usr/bin/python3")


def host_mirror() -> str | None:
    """The mirror that this Debian host itself installs from, read from its apt configuration."""
    if shutil.which("apt-get") is None:
        return None
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in said.stdout.splitlines():
        origin, _, rest = line.partition(" ")
        codename, _, mirror = rest.partition(" ")
        if origin == "Debian" and codename == _SUITE:
            return mirror
    return None


def _prune(root: Path) -> None:
    for name in _PRUNED:
        folder = root / name
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    # apt looks for this folder and does not make it.
    partial = root / "var/cache/apt/archives/partial"
    partial.mkdir(parents=True, exist_ok=True)
    partial.chmod(0o755)


def _forget_the_machine(root: Path) -> None:
    """What debootstrap takes over of this machine and of this day."""
    for name in ("etc/hostname", "etc/resolv.conf"):
        (root / name).write_text("")
    shadow = root / "etc/shadow"
    lines = [line.split(":") for line in shadow.read_text().splitlines()]
    # The third field is the day on which the password was changed last (shadow(5)).
    shadow.write_text("".join(":".join([*fields[:2], "", *fields[3:]]) + "\n" for fields in lines))
