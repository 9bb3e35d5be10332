"""What was there, four times a second: containers on engines, slots and states in rows, what processes hold."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import psycopg

from tests.faults.harness.journal import Journal

PERIOD_SECONDS = 0.25
#: Every so many samples, what the processes hold.
_PROCESSES_EVERY = 8
_SLOTS = (
    "SELECT n.name, n.slots, count(r.rank) FROM nodes n"
    " LEFT JOIN ranks r ON r.node_id = n.id AND r.released_at IS NULL WHERE n.deleted_at IS NULL GROUP BY 1, 2"
)
#: Those that move, and those that have just ended.
_STATES = (
    "SELECT id, state, attempt FROM jobs WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
    " OR updated_at > now() - interval '3 seconds'"
)


class Sampler:
    """Samples until `finish`. What cannot be seen at a moment is null in that sample."""

    def __init__(
        self,
        engines: Mapping[str, str],
        installation: str,
        database_url: str,
        pids: Callable[[], Mapping[str, int]],
        journal: Journal,
    ) -> None:
        self._engines = {name: docker.APIClient(base_url=url, timeout=5) for name, url in engines.items()}
        self._label = f"longshore.installation={installation}"
        self._database_url = database_url
        self._pids = pids
        self._journal = journal
        self._connection: psycopg.Connection[Any] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Take a last sample, and end."""
        self._over.set()
        self._thread.join(60)
        for engine in self._engines.values():
            engine.close()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        number = 0
        while True:
            over = self._over.is_set()
            begun = time.monotonic()
            sample: dict[str, Any] = {
                "engines": {name: self._containers(each) for name, each in self._engines.items()}
            }
            sample |= self._rows()
            if over or number % _PROCESSES_EVERY == 0:
                sample["processes"] = {name: _held(pid) for name, pid in self._pids().items()}
            self._journal.write(**sample)
            number += 1
            if over:
                return
            self._over.wait(max(0.0, PERIOD_SECONDS - (time.monotonic() - begun)))

    def _containers(self, engine: Any) -> list[Any] | None:
        try:
            found = engine.containers(all=True, filters={"label": self._label})
        except (docker.errors.DockerException, OSError):
            return None
        return [
            [
                each["Labels"]["longshore.job"],
                int(each["Labels"]["longshore.attempt"]),
                int(each["Labels"]["longshore.rank"]),
                each["State"],
            ]
            for each in found
            if "longshore.rank" in each["Labels"]
        ]

    def _rows(self) -> dict[str, Any]:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._database_url, autocommit=True, connect_timeout=2)
            slots = self._connection.execute(_SLOTS).fetchall()
            states = self._connection.execute(_STATES).fetchall()
        except psycopg.Error:
            with contextlib.suppress(psycopg.Error):
                if self._connection is not None:
                    self._connection.close()
            self._connection = None
            return {"slots": None, "states": None}
        return {
            "slots": {name: [held, slots] for name, slots, held in slots},
            "states": {job: [state, attempt] for job, state, attempt in states},
        }


def _held(pid: int) -> dict[str, int] | None:
    """File descriptors, threads and resident bytes of a process."""
    try:
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "pid": pid,
        "descriptors": descriptors,
        "threads": int(fields.get("Threads", "0")),
        "resident_bytes": int(fields.get("VmRSS", "0 kB").split()[0]) * 1024,
    }
