"""What ran, from the engines themselves: listeners in a process of their own, and a listing when all is over.

They speak to the engines past the platform and past every proxy: what is done to it does not blind them. An engine
keeps its last 256 events only, those of its other users among them, so that a listener that is away
for seconds may miss some: there are two for each engine, which take turns at being away.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import docker

from tests.faults.harness.chaos import let_pass
from tests.faults.harness.journal import Journal

_ACTIONS = ("create", "start", "die", "oom", "destroy")
_AGAIN_SECONDS = 0.2
#: A stream that hangs cannot make a listener deaf for longer than this.
_STRETCH_SECONDS = 10.0
_LISTENERS = 2


class Witness:
    """Listens to `engines` (name → base URL) for one installation's containers from construction on."""

    def __init__(self, engines: Mapping[str, str], installation: str, journal: Journal) -> None:
        self._engines = dict(engines)
        self._label = f"longshore.installation={installation}"
        self._journal = journal
        # A process of its own: what keeps this one's threads from running must not make it miss anything.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(self._engines), self._label, str(journal.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"listening\n":
            raise AssertionError("the witness does not listen")

    def finish(self) -> None:
        """Hear what has happened by now, write down what is left, and end."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        for name, url in self._engines.items():
            self._journal.write(engine=name, final=True, **self._left(url))

    def _left(self, url: str) -> dict[str, Any]:
        """Names of what bears the installation's label; the network that all one-rank jobs share stays."""
        wanted = {"label": self._label}
        try:
            with contextlib.closing(docker.DockerClient(base_url=url, timeout=60)) as client:
                api = client.api
                return {
                    "containers": [found["Names"][0] for found in api.containers(all=True, filters=wanted)],
                    "networks": [
                        found["Name"]
                        for found in api.networks(filters=wanted)
                        if (found.get("Labels") or {}).get("longshore.network") != "solo"
                    ],
                    "volumes": [found["Name"] for found in (api.volumes(filters=wanted)["Volumes"] or ())],
                }
        except (docker.errors.DockerException, OSError) as error:
            return {"unreachable": repr(error)[:200]}


class _Listener:
    """One of an engine's. Asks in stretches with an end, each from where the last one ended."""

    def __init__(self, name: str, url: str, label: str, journal: Journal) -> None:
        self._name, self._url, self._label, self._journal = name, url, label, journal
        self.is_connected = threading.Event()

    def run(self, first_seconds: float) -> None:
        since, seconds = time.time() - 1, first_seconds
        while True:
            until = time.time() + seconds
            try:
                self.hear(since, until)
                since, seconds = until, _STRETCH_SECONDS
            except (docker.errors.DockerException, OSError, ValueError) as error:
                self._journal.write(engine=self._name, unheard=repr(error)[:200])
                let_pass(_AGAIN_SECONDS)

    def hear(self, since: float, until: float) -> None:
        """Write down what happened, and happens, in a stretch of time."""
        wanted = {"label": [self._label], "type": ["container"], "event": list(_ACTIONS)}
        # Typed as if it took whole seconds only; the engine takes fractions of them.
        connected: Any = docker.DockerClient(base_url=self._url, timeout=30)
        with contextlib.closing(connected) as client:
            stream = client.events(since=f"{since:.9f}", until=f"{until:.9f}", filters=wanted, decode=True)
            self.is_connected.set()
            self._write(stream)

    def _write(self, stream: Iterable[dict[str, Any]]) -> None:
        for event in stream:
            attributes = event["Actor"]["Attributes"]
            self._journal.write(
                engine=self._name,
                action=event["Action"],
                at_ns=event["timeNano"],
                container=event["Actor"]["ID"],
                job=attributes.get("longshore.job", ""),
                attempt=int(attributes.get("longshore.attempt", 0)),
                rank=int(attributes.get("longshore.rank", -1)),
                exit=int(attributes["exitCode"]) if "exitCode" in attributes else None,
            )


def main() -> None:
    """Listen until SIGTERM, then hear what has happened by then."""
    engines, label, path = sys.argv[1:]
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    journal = Journal(Path(path))
    listeners = []
    for name, url in json.loads(engines).items():
        for number in range(_LISTENERS):
            listeners.append(_Listener(name, url, label, journal))
            first = _STRETCH_SECONDS * (number + 1) / _LISTENERS
            threading.Thread(target=listeners[-1].run, args=(first,), daemon=True).start()
    for listener in listeners:
        listener.is_connected.wait(60)
    print("listening", flush=True)
    over.wait()
    for listener in listeners[::_LISTENERS]:
        with contextlib.suppress(docker.errors.DockerException, OSError):
            listener.hear(time.time() - 2 * _STRETCH_SECONDS, time.time())
    journal.close()


if __name__ == "__main__":
    main()
