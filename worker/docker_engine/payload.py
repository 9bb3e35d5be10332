"""What the create calls send. Pure: the hardening of every container is decided here and nowhere else."""

from __future__ import annotations

from typing import Any

from core.jobs.gang_networks import BRIDGE, HOST, OVERLAY
from core.subnets import engines_half, gateway_address
from worker.docker_engine.init_words import asking
from worker.engine import ContainerSpec, NetworkSpec

#: What is added back after all capabilities are dropped: what package tools and servers in common images
#: need to own, switch to and signal their own users' files and processes. None reaches beyond the container.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)


def log_config(file_bytes: int) -> dict[str, Any]:
    """Blocking, on the node's disk: a slow reader never slows the job, and what is kept outlives a supervisor that
    is away. Not json-file, which replaces every byte that is not UTF-8. A second file takes what is beyond.
    """
    return {"Type": "local", "Config": {"max-size": str(file_bytes), "max-file": "2", "compress": "false"}}


def container_payload(spec: ContainerSpec) -> dict[str, Any]:
    """The body of POST /containers/create."""
    environment = {**spec.environment, **asking(spec.environment)}
    endpoint: dict[str, Any] = {}
    if spec.address is not None:
        endpoint = {"IPAMConfig": {"IPv4Address": str(spec.address)}, "Aliases": [spec.hostname]}
    body: dict[str, Any] = {
        "Image": spec.image,
        "Cmd": list(spec.command) or None,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": dict(spec.labels),
        "Hostname": spec.hostname,
        "AttachStdout": False,
        "AttachStderr": False,
        "HostConfig": {
            "NetworkMode": spec.network,
            "ExtraHosts": [f"{name}:{address}" for name, address in spec.hosts.items()],
            "Init": True,
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            "NanoCpus": int(spec.limits.cpu_count * 1_000_000_000),
            "Memory": spec.limits.memory_bytes,
            "MemorySwap": spec.limits.memory_bytes,
            "PidsLimit": spec.limits.pids,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": log_config(spec.log_file_bytes),
        },
    }
    if spec.network != HOST:
        body["NetworkingConfig"] = {"EndpointsConfig": {spec.network: endpoint}}
    if spec.limits.shm_bytes is not None:
        body["HostConfig"]["ShmSize"] = spec.limits.shm_bytes
    if spec.gpu is not None:
        # As `docker run --gpus device=N` asks for it: any driver that has GPUs.
        request = {"Driver": "", "DeviceIDs": [str(spec.gpu)], "Capabilities": [["gpu"]]}
        body["HostConfig"]["DeviceRequests"] = [request]
    if spec.working_directory:
        body["WorkingDir"] = spec.working_directory
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    return body


def network_payload(spec: NetworkSpec) -> dict[str, Any]:
    """The body of POST /networks/create. Raises ValueError for one that is not made."""
    if spec.subnet is None:
        raise ValueError(f"{spec.name} is the hosts' own network: there is none to make")
    options = {"com.docker.network.bridge.enable_icc": "false"} if spec.isolated else {}
    addresses = {"Subnet": str(spec.subnet)}
    if spec.driver == BRIDGE:
        # The one that the engine would take. An engine that is killed while it removes a network whose gateway was
        # not said panics at every later start (Docker 20.10, libnetwork's reservePools).
        addresses["Gateway"] = str(gateway_address(spec.subnet))
    swarm: dict[str, Any] = {}
    if spec.driver == OVERLAY:
        # Every host of the swarm takes an address of its own for what it balances: none of a rank's.
        addresses["IPRange"] = str(engines_half(spec.subnet))
        swarm = {"Attachable": True, "Scope": "swarm"}
    return {
        "Name": spec.name,
        "CheckDuplicate": True,
        "Driver": spec.driver,
        **swarm,
        "IPAM": {"Driver": "default", "Config": [addresses]},
        "Options": options,
        "Labels": dict(spec.labels),
    }
