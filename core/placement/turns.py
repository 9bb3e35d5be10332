"""Whose turn it is: priority, then the account that holds the fewest slots, then age.

What an account is given counts at once, so that one with ten thousand queued jobs does not keep one with ten
waiting. An account whose jobs do not fit gives its turn on; it is not charged for having been asked.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from core.placement.values import WaitingJob


class Turns:
    """Hands out jobs one at a time; each is to be answered by `placed` or left waiting."""

    def __init__(self, waiting: Iterable[WaitingJob], in_use: Mapping[str, int]) -> None:
        self._in_use = dict(in_use)
        queues: defaultdict[str, list[WaitingJob]] = defaultdict(list)
        for job in waiting:
            queues[job.account].append(job)
        self._queues: dict[str, deque[WaitingJob]] = {}
        self._heads: list[tuple[int, int, float, str, str]] = []
        self._given: str | None = None
        for account, jobs in queues.items():
            jobs.sort(key=lambda job: (-job.priority, -job.waited_seconds, job.id))
            self._queues[account] = deque(jobs)
            self._offer(account)

    def next(self) -> WaitingJob | None:
        """The job whose turn it is, None when every job has had its turn."""
        if self._given is not None:
            self._offer(self._given)
            self._given = None
        if not self._heads:
            return None
        account = heapq.heappop(self._heads)[-1]
        self._given = account
        return self._queues[account].popleft()

    def placed(self, job: WaitingJob) -> None:
        """The job that was given out last has room: its account holds so many slots more."""
        self._in_use[job.account] = self._in_use.get(job.account, 0) + job.num_ranks

    def _offer(self, account: str) -> None:
        queue = self._queues[account]
        if queue:
            head = queue[0]
            used = self._in_use.get(account, 0)
            heapq.heappush(self._heads, (-head.priority, used, -head.waited_seconds, head.id, account))
