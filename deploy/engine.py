"""The Docker engine that jobs run on: the reachable one, or Debian's, installed and started. No images here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from deploy import packages
from deploy.home import Home, Roster
from deploy.processes import SetupError, identity_of, is_running, run, spawn, stop, tail, wait_until

DEFAULT_SOCKET = Path("/var/run/docker.sock")
_EXEC_ROOT = Path("/var/run/docker")
_DAEMON_FILE = Path("/etc/docker/daemon.json")
_START_SECONDS = 60.0


@dataclass(frozen=True)
class EnginePlace:
    """Where an engine that we start has its files; all None means the engine's own defaults."""

    socket: Path = DEFAULT_SOCKET
    data_root: Path | None = None
    exec_root: Path | None = None
    pid_file: Path = Path("/var/run/docker.pid")
    bridge: str | None = None
    #: more words for its command line
    options: tuple[str, ...] = ()
    #: a crash or a restart of the engine leaves containers running; no engine of a swarm can do that
    live_restore: bool = True


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    client: docker.DockerClient
    endpoint: str
    version: str
    cpu_count: int
    memory_bytes: int
    how: str


def ensure_engine(home: Home, place: EnginePlace | None = None) -> Engine:
    """The engine, started if need be. Raises SetupError that says what to do."""
    if place is None and (named := os.environ.get("DOCKER_HOST")):
        answer = _connect(named)
        if isinstance(answer, str):
            raise SetupError(f"no engine answers at DOCKER_HOST={named} ({answer}); start it or unset DOCKER_HOST")
        return _described(answer, named, "is the one that DOCKER_HOST names")
    place = place or EnginePlace()
    endpoint = f"unix://{place.socket}"
    answer = _connect(endpoint)
    if not isinstance(answer, str):
        return _described(answer, endpoint, "was running")
    if "Permission denied" in answer:
        raise SetupError(f"you may not use {place.socket}; join its group with `sudo usermod -aG docker $USER`")
    how = _start(home, place, answer)
    found = _connect(endpoint)
    if isinstance(found, str):
        raise SetupError(f"the engine that was started does not answer: {found}")
    return _described(found, endpoint, how)


def stop_engine(home: Home) -> bool:
    """Stop the engine if it was `up` that started it."""
    roster = Roster(home)
    process = roster.running("dockerd")
    stopped = process is not None and stop(process, ask=signal.SIGTERM, grace_seconds=60)
    roster.forget("dockerd")
    return stopped


def reach(endpoint: str | None = None) -> docker.DockerClient | None:
    """The engine at an endpoint, by default the usual one, if it answers."""
    found = _connect(endpoint or os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}")
    return None if isinstance(found, str) else found


def _connect(endpoint: str) -> docker.DockerClient | str:
    """A client of an engine that answers, or why it does not."""
    try:
        client = docker.DockerClient.from_env(environment={**os.environ, "DOCKER_HOST": endpoint}, timeout=120)
        client.ping()
    except (DockerException, OSError) as error:
        return str(error)
    return client


def _described(client: docker.DockerClient, endpoint: str, how: str) -> Engine:
    facts = client.info()
    version = str(facts["ServerVersion"])
    return Engine(client, endpoint, version, int(facts["NCPU"]), int(facts["MemTotal"]), how)


def _start(home: Home, place: EnginePlace, refusal: str) -> str:
    """Start an engine where none answers; how that was done."""
    _refuse_beside_another(place)
    installed: list[str] = []
    if shutil.which("dockerd") is None or shutil.which("iptables") is None:
        if not packages.can_install():
            raise SetupError(
                f"no Docker engine answers at {place.socket} ({refusal}); install and start one "
                "(on Debian or Ubuntu this command does it when run as root), or set DOCKER_HOST"
            )
        if _has_systemd() and place.live_restore:
            # It starts the engine as soon as that is installed.
            keep_containers()
        installed = packages.install("docker.io", "iptables")
    elif os.geteuid() != 0:
        raise SetupError(f"no engine answers at {place.socket}; start it with `sudo systemctl start docker`")
    prefix = f"was installed ({' '.join(installed)}) and " if installed else "was "
    if _has_systemd() and place.data_root is None:
        said = run(["systemctl", "start", "docker"])
        if said.returncode != 0:
            raise SetupError("systemd did not start the engine; see `journalctl -u docker`")
        return prefix + "started by systemd, whose it stays"
    _start_detached(home, place)
    return prefix + "started by us"


def _has_systemd() -> bool:
    return Path("/proc/1/comm").read_text().strip() == "systemd"


def keep_containers(file: Path = _DAEMON_FILE) -> None:
    """Have an engine that is to be installed leave containers running when it ends; a file that is there stays."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"live-restore": True}) + "\n")


def _start_detached(home: Home, place: EnginePlace) -> None:
    log = home.log("dockerd")
    command = ["dockerd", "-H", f"unix://{place.socket}", "--pidfile", str(place.pid_file), *place.options]
    if place.live_restore:
        command.append("--live-restore")
    for option, value in (
        ("--data-root", place.data_root), ("--exec-root", place.exec_root), ("--bridge", place.bridge)
    ):  # fmt: skip
        if value is not None:
            command += [option, str(value)]
    process = spawn(command, log=log)
    Roster(home).record("dockerd", process)
    endpoint = f"unix://{place.socket}"
    wait_until(
        lambda: not is_running(process) or not isinstance(_connect(endpoint), str), _START_SECONDS, every=0.1
    )
    if not is_running(process):
        raise SetupError(f"the engine ended while it started; its log {log} ends:\n{tail(log)}")


def _refuse_beside_another(place: EnginePlace) -> None:
    """Wait for an engine that is there and does not answer yet; never start a second one beside it."""
    try:
        pid = int(place.pid_file.read_text())
    except (OSError, ValueError):
        return
    process = identity_of(pid)
    if process is None or Path(f"/proc/{pid}/comm").read_text().strip() != "dockerd":
        _clear_remains(place)
        return
    endpoint = f"unix://{place.socket}"
    wait_until(
        lambda: not is_running(process) or not isinstance(_connect(endpoint), str), _START_SECONDS, every=0.2
    )
    if is_running(process) and isinstance(_connect(endpoint), str):
        raise SetupError(f"an engine runs as process {pid} and does not answer at {place.socket}; see its log")


def _clear_remains(place: EnginePlace) -> None:
    """Let a killed engine's own containerd end, and drop its pid file.

    A new engine takes a containerd that is about to go, or is a zombie, for a running one and fails; and it
    refuses to start for any process that happens to have the old pid now.
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError, ValueError):
        pid = int(((place.exec_root or _EXEC_ROOT) / "containerd/containerd.pid").read_text())
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10, every=0.05)
    place.pid_file.unlink(missing_ok=True)
