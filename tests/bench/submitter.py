"""Jobs sent through the API by several accounts at once, and taken back again."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tests.bench.simulated_work import SimulatedJob, of_account
from tests.lab.api_client import ApiClient


@dataclass
class Submitter:
    """Sends jobs and cancellations through the API: a thread for each account, and one that cancels."""

    clients: Sequence[ApiClient]
    #: by account and id, everything that was accepted
    accepted: dict[tuple[str, str], SimulatedJob] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _to_cancel: list[tuple[float, str, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, jobs: Sequence[SimulatedJob]) -> None:
        """Create all, and cancel those that are to be; returns when everything has been said."""
        began = time.monotonic()
        creating = [
            threading.Thread(target=self._create, args=(number, of_account(jobs, number)))
            for number in range(len(self.clients))
        ]
        for thread in creating:
            thread.start()
        while any(thread.is_alive() for thread in creating) or self._to_cancel:
            self._cancel_due()
            if self.seconds == 0 and not any(thread.is_alive() for thread in creating):
                self.seconds = time.monotonic() - began
            time.sleep(0.02)  # how exactly cancellations keep their time
        self.seconds = self.seconds or time.monotonic() - began

    def _create(self, account: int, jobs: Sequence[SimulatedJob]) -> None:
        client = self.clients[account]
        for job in jobs:
            try:
                made = client.create(**job.body)
            except (AssertionError, httpx.HTTPError) as error:
                self.faults.append(f"a job was not accepted: {error}")
                continue
            with self._lock:
                self.accepted[client.account, made["id"]] = job
                if job.cancel_after is not None:
                    heapq.heappush(self._to_cancel, (time.monotonic() + job.cancel_after, made["id"], account))

    def _cancel_due(self) -> None:
        while self._to_cancel and self._to_cancel[0][0] <= time.monotonic():
            with self._lock:
                _, job_id, account = heapq.heappop(self._to_cancel)
            try:
                self.clients[account].cancel(job_id)
            except (AssertionError, httpx.HTTPError) as error:
                self.faults.append(f"{job_id} was not cancelled: {error}")
