"""What ran, from the engines themselves: a listener of its own on each, and a listing when all is over.

It speaks to the engines past the platform and past every proxy, so what is done to the platform does not blind it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import docker

from tests.faults.harness.journal import Journal

_ACTIONS = ("create", "start", "die", "oom", "destroy")
_AGAIN_SECONDS = 0.2
_BATCH_SECONDS = 2


class Witness:
    """Listens to `engines` (name → base URL) for one installation's containers from construction on."""

    def __init__(self, engines: Mapping[str, str], installation: str, journal: Journal) -> None:
        self._engines = dict(engines)
        self._label = f"longshore.installation={installation}"
        self._journal = journal
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, args=(name, url), name=f"witness-{name}", daemon=True)
            for name, url in self._engines.items()
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Hear what has happened by now, write down what is left, and end."""
        time.sleep(_AGAIN_SECONDS)
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        for name, url in self._engines.items():
            self._journal.write(engine=name, final=True, **self._left(url))

    def _listen(self, name: str, url: str) -> None:
        since = time.time() - 1
        while True:
            # Asked in stretches with an end, so that a stream which hangs cannot make it deaf: the engine keeps
            # the last 256 events, and gives those again that came in between. (An engine's restart empties that.)
            over = self._over.is_set()
            until = time.time() + (0 if over else _BATCH_SECONDS)
            try:
                with contextlib.closing(docker.DockerClient(base_url=url, timeout=30)) as client:
                    self._hear(name, client, since, until)
                since = until
            except (docker.errors.DockerException, OSError, ValueError) as error:
                self._journal.write(engine=name, unheard=repr(error)[:200])
                if not over:
                    time.sleep(_AGAIN_SECONDS)
            if over:
                return

    def _hear(self, name: str, client: Any, since: float, until: float) -> None:
        wanted = {"label": [self._label], "type": ["container"], "event": list(_ACTIONS)}
        for event in client.events(since=f"{since:.9f}", until=f"{until:.9f}", filters=wanted, decode=True):
            attributes = event["Actor"]["Attributes"]
            self._journal.write(
                engine=name,
                action=event["Action"],
                at_ns=event["timeNano"],
                container=event["Actor"]["ID"],
                job=attributes.get("longshore.job", ""),
                attempt=int(attributes.get("longshore.attempt", 0)),
                rank=int(attributes.get("longshore.rank", -1)),
                exit=int(attributes["exitCode"]) if "exitCode" in attributes else None,
            )

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
