"""What we ask of a container engine, as values and a protocol. Pure; `docker_engine` is what fulfils it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from core.jobs.gang_networks import BRIDGE
from core.jobs.launching import RankLimits
from core.usage.series import UsagePoint

LABEL_INSTALLATION = "longshore.installation"
LABEL_JOB = "longshore.job"
LABEL_ATTEMPT = "longshore.attempt"
LABEL_RANK = "longshore.rank"
LABEL_RANKS = "longshore.ranks"
#: How large the engine lets one file of the rank's output become.
LABEL_LOG_FILE = "longshore.log-file-bytes"
LABEL_EXECUTOR = "longshore.executor"
LABEL_NETWORK = "longshore.network"

_CONTAINER_NAME = re.compile(r"ls-(?P<job>[a-z][a-z0-9-]*)-(?P<attempt>\d+)-(?P<rank>\d+)")


@dataclass(frozen=True)
class RankKey:
    """Which rank of which attempt of which job: everything that names a container."""

    job_id: str
    attempt: int
    rank: int

    @property
    def container_name(self) -> str:
        """The one name that this rank's container can have on any engine."""
        return f"ls-{self.job_id}-{self.attempt}-{self.rank}"

    @classmethod
    def from_container_name(cls, name: str) -> RankKey | None:
        """The rank that a container's name stands for; None where it is not one of ours."""
        match = _CONTAINER_NAME.fullmatch(name.removeprefix("/"))
        if match is None:
            return None
        return cls(match["job"], int(match["attempt"]), int(match["rank"]))


def gang_network_name(job_id: str, attempt: int) -> str:
    """The name of the network of one attempt's ranks."""
    return f"ls-{job_id}-{attempt}"


def gang_of_network(name: str) -> tuple[str, int] | None:
    """The (job, attempt) of a gang network's name; None of another name."""
    job_id, _, attempt = name.removeprefix("ls-").rpartition("-")
    if not attempt.isdecimal() or gang_network_name(job_id, int(attempt)) != name:
        return None
    return job_id, int(attempt)


@dataclass(frozen=True)
class NetworkSpec:
    """A network. `isolated` cuts the containers of a bridge off from each other.

    `driver` is bridge, overlay (of a swarm, made by a manager of it), or host: then there is nothing to make, and
    no subnet.
    """

    name: str
    subnet: IPv4Network | None
    isolated: bool
    labels: Mapping[str, str]
    driver: str = BRIDGE


@dataclass(frozen=True)
class ContainerSpec:
    """Everything that one rank's container is made of. `entrypoint` None keeps the image's own."""

    key: RankKey
    image: str
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    limits: RankLimits
    network: str
    hostname: str = ""
    address: IPv4Address | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    #: absolute, made where it is missing; "" = the image's own
    working_directory: str = ""
    #: the one that it sees, by its number on the node; None = none
    gpu: int | None = None
    #: of the rank's output the engine has two files at the most, each of so many bytes as it keeps them
    log_file_bytes: int = 64 << 20


@dataclass(frozen=True)
class ImageFacts:
    """An image that is on the node. `digest` is `repository@sha256:…`, or the image's id where it has none.

    `command` is what it runs by itself, its entrypoint and its command one after the other; `user` whom it runs it
    as, in its own words.
    """

    image_id: str
    digest: str
    command: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True)
class Observation:
    """What an engine says of a container now. `status` is Docker's: created, running, exited, dead, ..."""

    container_id: str
    status: str
    exit_code: int
    oom_killed: bool
    error: str
    #: absolute; the image's own where it was told none
    working_directory: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """It ran, and it runs no more."""
        return self.status in ("exited", "dead") and self.started_at is not None


@dataclass(frozen=True)
class Usage:
    """What a running container has used by the moment of its `point`, by its engine's clock and counters.

    `has_network` False: nothing counts the bytes of its network; it has none, or its host's.
    """

    point: UsagePoint
    memory_limit_bytes: int
    has_network: bool


class Engine(Protocol):
    """The short calls that launch and stop steps make. All raise core.errors.EngineError and its kinds.

    Every call may be repeated: creating finds the container of that name, removing what is gone is fine.
    """

    def started_at(self) -> datetime | None:
        """When the engine's present run began, by its own clock; None where that is not known. One that was
        restarted under running containers, which it kept, may say when an earlier run began."""

    def find_image(self, reference: str) -> ImageFacts | None:
        """The image if it is on the node. Raises ImagePlatformMismatch where it cannot run there."""

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Make the network unless it is there."""

    def create(self, spec: ContainerSpec) -> str:
        """Create the rank's container, or find the one of its name; its id."""

    def has_path(self, container: str, path: str) -> bool:
        """Whether the container's file system has something at an absolute path, whether it runs or not."""

    def unpack(self, container: str, archive: bytes, folder: str = "/") -> None:
        """Unpack a tar into a folder of the container's file system. Raises ContainerGone."""

    def start(self, container_id: str) -> None:
        """Start a created container. Raises CommandNotStarted, ContainerGone."""

    def observe(self, container: str) -> Observation | None:
        """The container by id or name; None where it is not there."""

    def signal(self, container_id: str, signal: str) -> bool:
        """Send a signal; False where the container does not run (yet, or any more)."""

    def remove(self, container: str) -> None:
        """Remove the container, running or not, if it is there."""
