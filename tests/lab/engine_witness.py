"""What the engines themselves say ran: every event of one installation's containers, and a look every 250 ms.

It listens beside the platform, on connections of its own, so that what it knows cannot be what the platform
believes. Slots, states and verdicts are not its business: `judge` holds them against this.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import docker

from tests.lab.platform import wait_until
from tests.lab.row_sampler import EVERY_SECONDS
from worker.engine import LABEL_ATTEMPT, LABEL_INSTALLATION, LABEL_JOB, LABEL_RANK, RankKey


@dataclass
class ContainerStory:
    """One container from its making to its removal; times are seconds since the epoch by its engine's clock."""

    key: RankKey
    host: str
    container_id: str
    created_at: float | None = None
    starts: list[float] = field(default_factory=list)
    died_at: float | None = None
    exit_code: int | None = None
    destroyed_at: float | None = None


@dataclass(frozen=True)
class Look:
    """One listing of every engine: containers there are, and ranks that run of each attempt."""

    present: Mapping[str, int]
    running: Mapping[tuple[str, int], int]


class EngineWitness:
    """Listens to `sockets` (by host) from construction until `stop`. `on_look` gets every listing."""

    def __init__(self, sockets: Mapping[str, str], installation: str, on_look: Callable[[Look], None]) -> None:
        self._sockets = sockets
        self._filters = {"label": f"{LABEL_INSTALLATION}={installation}"}
        self._on_look = on_look
        self._stories: dict[str, ContainerStory] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._streams: list[Any] = []
        self._clients: list[Any] = []
        self._threads: list[threading.Thread] = []
        self.faults: dict[str, None] = {}
        self.looks = 0
        #: seconds from when a look was due until it was done, at worst: milliseconds, unless the machine is busy
        self.longest_look = 0.0
        for host, socket in sockets.items():
            # The reply's head comes with the subscription: nothing that happens from here on is missed.
            filters = {**self._filters, "type": "container"}
            stream = self._client(socket).events(decode=True, filters=filters)
            self._streams.append(stream)
            self._begin(self._listen, host, stream)
        self._begin(self._look_again_and_again)

    @property
    def stories(self) -> list[ContainerStory]:
        """Every container that was heard of."""
        with self._lock:
            return list(self._stories.values())

    def wait_until_gone(self, seconds: float) -> None:
        """Return when every container that was made has been removed, or the time is up."""
        with contextlib.suppress(AssertionError):
            wait_until(
                lambda: all(story.destroyed_at is not None for story in self.stories),
                seconds,
                "containers are gone",
            )

    def stop(self) -> None:
        """End listening and looking."""
        self._ending.set()
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        for thread in self._threads:
            thread.join(20)
        for client in self._clients:
            client.close()

    def _client(self, socket: str) -> Any:
        client: Any = docker.APIClient(base_url=socket, version="auto", timeout=60)
        self._clients.append(client)
        return client

    def _begin(self, work: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=work, args=given, name=f"witness {work.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, host: str, stream: Any) -> None:
        try:
            for event in stream:
                self._hear(host, event)
        except Exception as error:  # noqa: BLE001 - closing the stream ends it in more than one way
            if not self._ending.is_set():
                self.faults[f"{host}: its events ended: {error!r}"] = None
            return
        if not self._ending.is_set():
            self.faults[f"{host}: its events ended"] = None

    def _hear(self, host: str, event: Mapping[str, Any]) -> None:
        labels = event["Actor"]["Attributes"]
        if LABEL_JOB not in labels:
            return
        key = RankKey(labels[LABEL_JOB], int(labels[LABEL_ATTEMPT]), int(labels[LABEL_RANK]))
        container_id, at = event["Actor"]["ID"], event["timeNano"] / 1e9
        with self._lock:
            story = self._stories.setdefault(container_id, ContainerStory(key, host, container_id))
            match event["Action"]:
                case "create":
                    story.created_at = at
                case "start":
                    story.starts.append(at)
                case "die":
                    story.died_at, story.exit_code = at, int(labels["exitCode"])
                case "destroy":
                    story.destroyed_at = at

    def _look_again_and_again(self) -> None:
        clients = {host: self._client(socket) for host, socket in self._sockets.items()}
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            try:
                self._on_look(self._look(clients))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
                self.faults[f"a look at the engines failed: {error!r}"] = None
            self.longest_look = max(self.longest_look, time.monotonic() - due)
            self.looks += 1
            due = max(due + EVERY_SECONDS, time.monotonic() + EVERY_SECONDS / 2)

    def _look(self, clients: Mapping[str, Any]) -> Look:
        present: Counter[str] = Counter()
        running: defaultdict[tuple[str, int], int] = defaultdict(int)
        for host, client in clients.items():
            for found in client.containers(all=True, filters=self._filters):
                present[host] += 1
                if found["State"] == "running":
                    running[found["Labels"][LABEL_JOB], int(found["Labels"][LABEL_ATTEMPT])] += 1
        return Look(present, running)
