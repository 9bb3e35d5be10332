"""One fake engine: its containers, images and networks, and the verbs on them. Knows no HTTP but its own answers.

Everything here runs on one event loop and nothing waits: an end in the future is a timer of that loop, one per
running container. Other threads may read, and set the plain attributes that say what is wrong with the engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import signal
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests.lab.fake_engine.behaviour import STDOUT, VARIABLE, Behaviour, Refusal, from_json
from tests.lab.fake_engine.container import FakeContainer
from tests.lab.fake_engine.events import Event, EventLog
from tests.lab.fake_engine.images import FakeImage, FakeRegistries, ImageStore, StoredImage
from tests.lab.fake_engine.logs import init_words
from tests.lab.fake_engine.networks import NetworkStore, Refused
from tests.lab.fake_engine.shell import behaviour_of_command
from tests.lab.fake_engine.stamps import now_ns

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
#: Signals that end no program by default.
_HARMLESS = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})
_CREATES_KEPT = 32
_LEAST_MEMORY_BYTES = 6 << 20


@dataclass(frozen=True)
class HostFacts:
    """What an engine says of its host. `root` is a folder of this machine, whose free disk is the node's."""

    name: str
    root: str
    cpu_count: int = 4
    gpu_count: int = 0
    memory_bytes: int = 16 << 30
    version: str = "20.10.24"


class FakeEngine:
    """`behaviour_of` may decide for a container what it does; None leaves it to its image and command.

    `delays` are seconds by verb (`create`, `start`, …, `*` for all); `refusals` answer a verb with an error;
    `lost_replies` are verbs that are done, and the connection is cut in place of the answer;
    `silent` engines accept calls and never answer. A name is taken `creation_seconds` before its container is
    to be seen, and until `removal_seconds` after its removal has begun. `time_scale` 10 makes ten scripted
    seconds one real one.
    `observer` is told of every event, on the engine's loop.
    """

    def __init__(
        self, facts: HostFacts, registries: FakeRegistries | None = None, *, time_scale: float = 1.0
    ) -> None:
        self.facts = facts
        self.engine_id = ":".join(re.findall("....", hashlib.sha256(facts.name.encode()).hexdigest().upper()[:48]))
        self.registries = registries or FakeRegistries()
        self.images = ImageStore()
        self.networks = NetworkStore()
        self.events = EventLog()
        self.containers: dict[str, FakeContainer] = {}
        self._by_name: dict[str, FakeContainer] = {}
        self._making: dict[str, FakeContainer] = {}
        self.time_scale = time_scale
        self.behaviour_of: Callable[[FakeContainer], Behaviour | None] | None = None
        self.observer: Callable[[FakeEngine, Event], None] | None = None
        self.delays: dict[str, float] = {}
        self.refusals: dict[str, Refusal] = {}
        self.lost_replies: set[str] = set()
        self.silent = False
        self.creation_seconds = 0.0
        self.removal_seconds = 0.0
        #: calls by verb, and the newest creates: name and body
        self.calls: Counter[str] = Counter()
        self.creates: deque[tuple[str, bytes]] = deque(maxlen=_CREATES_KEPT)
        self.running_count = 0
        self.most_running = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_image(self, image: FakeImage) -> None:
        """Have an image on the node, as if it had been built there."""
        self.images.add(image)

    def container(self, reference: str) -> FakeContainer:
        """By name, id, or the beginning of an id. Raises Refused."""
        found = self._by_name.get(reference) or self.containers.get(reference)
        if found is None and len(reference) >= 4:
            begins = [each for each in self.containers if each.startswith(reference)]
            found = self.containers[begins[0]] if len(begins) == 1 else None
        if found is None:
            raise Refused(404, f"No such container: {reference}")
        return found

    def create(self, name: str, raw: bytes, done: Callable[[FakeContainer], None]) -> None:
        """A container from a create call's body, `done` when it is to be seen. Raises Refused."""
        try:
            payload: dict[str, Any] = orjson.loads(raw)
        except ValueError as error:
            raise Refused(400, f"invalid JSON: {error}") from None
        self.creates.append((name, raw))
        if not _NAME.fullmatch(name):
            raise Refused(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        reference = str(payload.get("Image") or "")
        image = self.images.find(reference)
        if image is None:
            raise Refused(404, f"No such image: {_with_tag(reference)}")
        _check_settings(payload, image, self.facts.cpu_count)
        taken = self._making.get(name) or self._by_name.get(name)
        if taken is not None:
            raise Refused(
                409,
                f'Conflict. The container name "/{name}" is already in use by container "{taken.id}".'
                " You have to remove (or rename) that container to be able to reuse that name.",
            )
        container = FakeContainer(
            secrets.token_hex(32), name, raw, payload, image, _behaviour(payload, image), now_ns()
        )
        if self.behaviour_of is not None:
            container.behaviour = self.behaviour_of(container) or container.behaviour
            container.files = dict(container.behaviour.files)
        if container.behaviour.create_refusal is not None:
            raise Refused(container.behaviour.create_refusal.status, container.behaviour.create_refusal.message)
        if self.creation_seconds:
            self._making[name] = container
            self.loop.call_later(self.creation_seconds, self._have, container, done)
        else:
            self._have(container, done)

    def _have(self, container: FakeContainer, done: Callable[[FakeContainer], None]) -> None:
        self._making.pop(container.name, None)
        self.containers[container.id] = self._by_name[container.name] = container
        self._tell(container, "create")
        done(container)

    def start(self, container: FakeContainer) -> bool:
        """Run a container; False where it runs. Raises Refused, after which it is still created."""
        if container.is_running:
            return False
        if container.status == "removing":
            raise Refused(409, "container is marked for removal and cannot be started")
        refusal = container.behaviour.start_refusal
        if refusal is not None:
            self._note_not_started(container, refusal, 127 if refusal.status == 400 else 128)
        if container.wants_devices and not self.facts.gpu_count:
            said = f"could not select device driver {container.wants_devices}"
            self._note_not_started(container, Refusal(500, said), 128)
        self._attach(container)
        container.status, container.error, container.exit_code = "running", "", 0
        container.oom_killed = False
        container.started_ns, container.finished_ns = now_ns(), 0
        container.pid = 1 + secrets.randbits(20)
        self.running_count += 1
        self.most_running = max(self.most_running, self.running_count)
        self._tell(container, "start")
        container.timeline = container.behaviour.timeline()
        # Not before the start call has its answer.
        container.timer = self.loop.call_later(0, self._go_on, container, self.loop.time(), None)
        return True

    def _attach(self, container: FakeContainer) -> None:
        name = container.network_name
        network = self.networks.find(name)
        if network is None:
            self._note_not_started(container, Refusal(404, f"network {name} not found"), 128)
            return
        try:
            container.address = network.attach(container.id, container.wanted_address())
        except Refused as refused:
            self._note_not_started(container, refused.refusal, 128)
        container.network = network
        self._tell_network(network.id, "connect", {"container": container.id, "name": name, "type": "bridge"})

    def _note_not_started(self, container: FakeContainer, refusal: Refusal, exit_code: int) -> None:
        container.error, container.exit_code = refusal.message, exit_code
        raise Refused(refusal.status, refusal.message)

    def _go_on(self, container: FakeContainer, began: float, due: tuple[float, int, bytes] | None) -> None:
        """Print what is due, and set the timer for what comes next: the next output, or the end."""
        if due is not None:
            container.log.write(due[1], due[2], now_ns())
        behaviour = container.behaviour
        for at_seconds, stream, data in container.timeline:
            if behaviour.seconds is not None and at_seconds > behaviour.seconds:
                break
            at = began + at_seconds / self.time_scale
            if at > self.loop.time():
                container.timer = self.loop.call_at(at, self._go_on, container, began, (at_seconds, stream, data))
                return
            container.log.write(stream, data, now_ns())
        if behaviour.seconds is None:
            container.timer = None
            return
        at = began + behaviour.seconds / self.time_scale
        if at > self.loop.time():
            container.timer = self.loop.call_at(at, self._end_by_itself, container)
        else:
            self._end_by_itself(container)

    def _end_by_itself(self, container: FakeContainer) -> None:
        told = container.behaviour
        self.end(container, told.exit_code, told.oom_killed, told.by_signal)

    def end(
        self, container: FakeContainer, exit_code: int, oom_killed: bool = False, by_signal: bool | None = False
    ) -> None:
        """The container's program ends now; `by_signal` None: its init does too, and can say nothing of it."""
        if not container.is_running:
            return
        self._drop_timer(container)
        container.timeline = iter(())
        container.finished_ns = max(now_ns(), container.started_ns + 1)
        if container.init_talks and by_signal is not None:
            container.log.write(STDOUT, init_words(exit_code, by_signal), container.finished_ns)
        container.log.end(container.finished_ns)
        container.status, container.exit_code, container.pid = "exited", exit_code, 0
        container.oom_killed = oom_killed
        self.running_count -= 1
        if oom_killed:
            self._tell(container, "oom")
        if container.network is not None:
            container.network.detach(container.id)
            said = {"container": container.id, "name": container.network.name, "type": "bridge"}
            self._tell_network(container.network.id, "disconnect", said)
            container.address, container.network = "", None
        self._tell(container, "die", exitCode=str(exit_code))
        waiters, container.waiters = container.waiters, []
        for waiter in waiters:
            waiter()

    def kill(self, container: FakeContainer, number: int) -> None:
        """A signal to a running container's program. Raises Refused."""
        if not container.is_running:
            raise Refused(409, f"Container {container.id} is not running")
        self._tell(container, "kill", signal=str(number))
        told = container.behaviour.termination
        if number == signal.SIGKILL:
            self.end(container, 128 + number, by_signal=None)
        elif number == signal.SIGTERM:
            by_signal = told.exit_code == 128 + number
            if told.after_seconds == 0:
                self.loop.call_soon(self.end, container, told.exit_code, False, by_signal)
            elif told.after_seconds is not None:
                self._drop_timer(container)
                at = told.after_seconds / self.time_scale
                container.timer = self.loop.call_later(at, self.end, container, told.exit_code, False, by_signal)
        elif number not in _HARMLESS:
            self.loop.call_soon(self.end, container, 128 + number, False, True)

    def remove(self, container: FakeContainer, reference: str, *, force: bool, done: Callable[[], None]) -> None:
        """Remove a container, `done` when it is gone. Raises Refused."""
        if container.status == "removing":
            raise Refused(409, f"removal of container {reference} is already in progress")
        if container.is_running and not force:
            raise Refused(
                409,
                f"You cannot remove a running container {container.id}."
                " Stop the container before attempting removal or force remove",
            )
        if container.is_running:
            self.kill(container, signal.SIGKILL)
        self._drop_timer(container)
        container.status = "removing"
        if self.removal_seconds:
            self.loop.call_later(self.removal_seconds, self._remove, container, done)
        else:
            self._remove(container, done)

    def _remove(self, container: FakeContainer, done: Callable[[], None]) -> None:
        self.containers.pop(container.id, None)
        self._by_name.pop(container.name, None)
        self._tell(container, "destroy")
        for told in (*container.on_removed, done):
            told()

    def _drop_timer(self, container: FakeContainer) -> None:
        if container.timer is not None:
            container.timer.cancel()
            container.timer = None

    def _tell(self, container: FakeContainer, action: str, **more: str) -> None:
        event = Event(now_ns(), "container", action, container.id, container.attributes(**more))
        self.events.tell(event)
        if self.observer is not None:
            self.observer(self, event)

    def _tell_network(self, network_id: str, action: str, attributes: Mapping[str, str]) -> None:
        event = Event(now_ns(), "network", action, network_id, attributes)
        self.events.tell(event)
        if self.observer is not None:
            self.observer(self, event)


def _check_settings(payload: Mapping[str, Any], image: StoredImage, cpu_count: int) -> None:
    """What engines look at before they make a container. Raises Refused."""
    host = payload.get("HostConfig") or {}
    folder = str(payload.get("WorkingDir") or "")
    if folder and not folder.startswith("/"):
        raise Refused(400, f"the working directory '{folder}' is invalid, it needs to be an absolute path")
    if (host.get("NanoCpus") or 0) > cpu_count * 1_000_000_000:
        there = f"as there are only {cpu_count} CPUs available"
        raise Refused(400, f"Range of CPUs is from 0.01 to {cpu_count}.00, {there}")
    if 0 < (host.get("Memory") or 0) < _LEAST_MEMORY_BYTES:
        raise Refused(400, "Minimum memory limit allowed is 6MB")
    if not _argv(payload, image):
        raise Refused(400, "No command specified")


def _behaviour(payload: Mapping[str, Any], image: StoredImage) -> Behaviour:
    environment = dict(each.partition("=")[::2] for each in payload.get("Env") or ())
    if VARIABLE in environment:
        try:
            return from_json(environment[VARIABLE])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(400, f"{VARIABLE} of the container is not a behaviour: {error}") from None
    if image.image.behaviour is not None:
        return image.image.behaviour
    has_init = bool((payload.get("HostConfig") or {}).get("Init"))
    return behaviour_of_command(_argv(payload, image), environment, image.image.paths, has_init=has_init)


def _argv(payload: Mapping[str, Any], image: StoredImage) -> list[str]:
    entrypoint = payload.get("Entrypoint")
    command = payload.get("Cmd")
    if not entrypoint:
        entrypoint = image.image.entrypoint
        command = command or image.image.command
    return [*(entrypoint or ()), *(command or ())]


def _with_tag(reference: str) -> str:
    if reference.startswith("sha256:") or "@" in reference or ":" in reference.rpartition("/")[2]:
        return reference
    return f"{reference}:latest"
