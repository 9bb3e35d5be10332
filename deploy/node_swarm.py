"""The engine's part in a swarm: begun here, or joined by a token. An engine that is in one stays in it."""

from __future__ import annotations

from pathlib import Path

import docker
from docker.errors import APIError

from deploy.processes import SetupError
from deploy.steps import require


def ensure_swarm(engine: docker.DockerClient, *, address: str, manager: str, token_file: Path | None) -> str:
    """Begin a swarm where `manager` is empty, else join its; what was done. Raises SetupError."""
    info = engine.info()
    swarm = info.get("Swarm") or {}
    if swarm.get("LocalNodeState") == "active":
        role = "a manager" if swarm.get("ControlAvailable") else "a worker"
        return f"the engine is {role} of a swarm already"
    require(
        not info.get("LiveRestoreEnabled"),
        "the engine has live restore, and one in a swarm cannot: set `live-restore` to false in its daemon.json,"
        " restart it when nothing runs, and run this again",
    )
    require(bool(address), "give --swarm-address: the address by which the swarm's other engines reach this one")
    try:
        if not manager:
            engine.swarm.init(advertise_addr=address, listen_addr=f"{address}:2377")
            return "begun here; others join with `docker swarm join-token -q worker` of this machine"
        engine.swarm.join(
            remote_addrs=[manager],
            join_token=_token(token_file),
            advertise_addr=address,
            listen_addr=f"{address}:2377",
        )
    except APIError as error:
        raise SetupError(
            f"the engine does not get into a swarm ({error.explanation}); between its hosts 2377/tcp, 7946/tcp and"
            " udp, and 4789/udp have to be open"
        ) from error
    return f"joined that of {manager}"


def _token(file: Path | None) -> str:
    try:
        return file.read_text().strip() if file is not None else ""
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error.strerror}") from error
