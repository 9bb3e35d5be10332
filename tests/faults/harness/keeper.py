"""What a service manager does: a process that died is started again, after a while."""

from __future__ import annotations

import threading
import time

from tests.faults.harness.ledger import LedgerClient
from tests.lab.platform import Platform

#: As long as a service manager waits before it starts a process again.
RESTART_SECONDS = 2.0


class Keeper:
    """Watches the platform's processes from construction on; `deaths` counts those that it has seen, by name."""

    def __init__(self, platform: Platform, client: LedgerClient) -> None:
        self._platform, self._client = platform, client
        self.deaths: dict[str, int] = {}
        self._died_at: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look away."""
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.wait(0.05):
            for name in self._platform.pids:
                self._look(name)

    def _look(self, name: str) -> None:
        if not self._platform.has_died(name):
            return
        if name not in self._died_at:
            self._died_at[name] = time.monotonic()
            self.deaths[name] = self.deaths.get(name, 0) + 1
            self._client.mark("died", process=name)
        elif time.monotonic() - self._died_at[name] >= RESTART_SECONDS:
            del self._died_at[name]
            self._platform.start_again(name)
            self._client.mark("restarted", process=name)
