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
    #: every job has been asked for
    _is_said: bool = False
    #: of the above and of what is accepted
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def submit(self, jobs: Sequence[SimulatedJob]) -> None:
        """Create all, and cancel those that are to be; returns when everything has been said."""
        began = time.monotonic()
        creating = [
            threading.Thread(target=self._create, args=(number, of_account(jobs, number)))
            for number in range(len(self.clients))
        ]
        for thread in creating:
            thread.start()
        cancelling = threading.Thread(target=self._cancel_in_time)
        cancelling.start()
        for thread in creating:
            thread.join()
        self.seconds = time.monotonic() - began
        with self._changed:
            self._is_said = True
            self._changed.notify()
        cancelling.join()

    def _create(self, account: int, jobs: Sequence[SimulatedJob]) -> None:
        client = self.clients[account]
        for job in jobs:
            try:
                made = client.create(**job.body)
            except (AssertionError, httpx.HTTPError) as error:
                self.faults.append(f"a job was not accepted: {error}")
                continue
            with self._changed:
                self.accepted[client.account, made["id"]] = job
                if job.cancel_after is not None:
                    heapq.heappush(self._to_cancel, (time.monotonic() + job.cancel_after, made["id"], account))
                    self._changed.notify()

    def _cancel_in_time(self) -> None:
        """Each cancellation when it is due, until all jobs are created and none is left to be cancelled."""
        while (due := self._next_due()) is not None:
            job_id, account = due
            try:
                self.clients[account].cancel(job_id)
            except (AssertionError, httpx.HTTPError) as error:
                self.faults.append(f"{job_id} was not cancelled: {error}")

    def _next_due(self) -> tuple[str, int] | None:
        """The next job that is to be cancelled, as soon as it is; None where there will be none."""
        with self._changed:
            while self._to_cancel or not self._is_said:
                left = self._to_cancel[0][0] - time.monotonic() if self._to_cancel else None
                if left is not None and left <= 0:
                    _, job_id, account = heapq.heappop(self._to_cancel)
                    return job_id, account
                self._changed.wait(left)
            return None
