"""What the rows alone tell a judge: samples of them while jobs run, and whether they agree when all is over.

It knows the schema and nothing of how the platform works. The simulation and the tests on real engines use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

EVERY_SECONDS = 0.25
#: Sampling takes no more than this part of the time, so that it is not what it measures.
_LARGEST_SHARE = 0.15

_OVERFULL = (
    "SELECT n.name, n.slots, count(*) AS held FROM nodes n JOIN ranks r ON r.node_id = n.id"
    " WHERE r.released_at IS NULL GROUP BY n.id HAVING count(*) > n.slots"
)
# Of gangs that are not being stopped: placed by halves (never), or started by halves (for a moment).
_HALVES = (
    "SELECT r.job_id, r.attempt, j.num_ranks, count(r.node_id) AS placed, count(r.started_at) AS started"
    " FROM jobs j JOIN ranks r ON r.job_id = j.id AND r.attempt = j.attempt"
    " WHERE j.state IN ('QUEUED', 'PENDING', 'RUNNING') AND j.num_ranks > 1 AND j.stop_requested_at IS NULL"
    " AND NOT (j.state = 'QUEUED' AND j.attempt = 1)"
    " GROUP BY r.job_id, r.attempt, j.num_ranks HAVING count(r.node_id) NOT IN (0, j.num_ranks)"
    " OR count(r.started_at) NOT IN (0, j.num_ranks)"
)


@dataclass
class RowSampler:
    """Samples of the rows from `start` to `stop`. `faults` are sentences; each fault once."""

    url: str
    #: seconds that a gang may be seen with some of its ranks started and others not
    bound_seconds: float
    faults: dict[str, None] = field(default_factory=dict)
    count: int = 0
    longest_gap: float = 0.0
    longest_half: float = 0.0
    most_held: int = 0
    _ending: threading.Event = field(default_factory=threading.Event)
    _since: dict[tuple[str, int], float] = field(default_factory=dict)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, name="row-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, with a last sample."""
        self._ending.set()
        self._thread.join(60)

    def _run(self) -> None:
        last = time.monotonic()
        with psycopg.connect(self.url, autocommit=True, row_factory=namedtuple_row) as connection:
            while not self._ending.is_set():
                began = time.monotonic()
                self.longest_gap = max(self.longest_gap, began - last)
                last = began
                self._sample(connection)
                taken = time.monotonic() - began
                self._ending.wait(max(EVERY_SECONDS - taken, taken * (1 / _LARGEST_SHARE - 1), 0.0))
            self._sample(connection)

    def _sample(self, connection: psycopg.Connection[Any]) -> None:
        self.count += 1
        for row in connection.execute(_OVERFULL):
            self.faults[f"{row.name} has {row.slots} slots and {row.held} ranks hold one"] = None
        halves: set[tuple[str, int]] = set()
        for row in connection.execute(_HALVES):
            if row.placed not in (0, row.num_ranks):
                self.faults[f"{row.job_id}: {row.placed} of {row.num_ranks} ranks are placed"] = None
            if 0 < row.started < row.num_ranks:
                halves.add((row.job_id, row.attempt))
        now = time.monotonic()
        self._since = {key: self._since.get(key, now) for key in halves}
        for key, since in self._since.items():
            self.longest_half = max(self.longest_half, now - since)
            if now - since > self.bound_seconds:
                self.faults[f"{key[0]}: started by halves for more than {self.bound_seconds} s"] = None
        held = connection.execute(
            "SELECT count(*) AS n FROM ranks WHERE node_id IS NOT NULL AND released_at IS NULL"
        ).fetchone()
        self.most_held = max(self.most_held, held.n if held else 0)


@dataclass(frozen=True)
class JobRow:
    """A job and a summary of the ranks of its last attempt."""

    account: str
    batch_job_id: str
    state: str
    num_ranks: int
    attempt: int
    status: str
    rank_failure_policy: str
    ranks: int
    live: int
    good: int
    started: int

    @property
    def key(self) -> tuple[str, str]:
        """What a client knows it by."""
        return self.account, self.batch_job_id


_JOBS = (
    "SELECT j.account_id, j.batch_job_id, j.state, j.num_ranks, j.attempt, j.status,"
    " coalesce(j.spec ->> 'rank_failure_policy', 'FAIL_ALL'), count(*) AS ranks,"
    " count(*) FILTER (WHERE r.state NOT IN ('SUCCEEDED', 'FAILED', 'STOPPED', 'LOST')) AS live,"
    " count(*) FILTER (WHERE r.state = 'SUCCEEDED') AS good, count(r.started_at) AS started"
    " FROM jobs j LEFT JOIN ranks r ON r.job_id = j.id AND r.attempt = j.attempt"
    " WHERE j.created_at >= coalesce(%s, j.created_at) GROUP BY j.id"
)


def read_jobs(connection: psycopg.Connection[Any], since: datetime | None = None) -> list[JobRow]:
    """Every job, or those that were made since."""
    return [JobRow(*row) for row in connection.execute(_JOBS, (since,))]


def check_job(job: JobRow) -> list[str]:
    """Whether an ended job and its ranks say the same."""
    faults = []
    if job.state not in ("COMPLETED", "FAILED", "CANCELLED"):
        faults.append(f"{job.key} has not ended: {job.state}: {job.status}")
    if (job.ranks, job.live) != (job.num_ranks, 0):
        faults.append(f"{job.key} has {job.ranks} ranks of {job.num_ranks}, {job.live} of them live")
    if job.state == "COMPLETED" and job.rank_failure_policy == "FAIL_ALL" and job.good != job.num_ranks:
        faults.append(f"{job.key} is COMPLETED with {job.good} good ranks of {job.num_ranks}")
    # One may fail before the last is started; what ends well ran whole.
    if job.state == "COMPLETED" and job.started != job.num_ranks:
        faults.append(f"{job.key} is COMPLETED, and {job.started} of {job.num_ranks} ranks were started")
    return faults


def waits(
    connection: psycopg.Connection[Any],
    until: Literal["placed_at", "started_at"] = "placed_at",
    since: datetime | None = None,
) -> dict[str, tuple[int, float, float]]:
    """Of each account's jobs whose first attempt came so far: how many; seconds that half, and all but 5 %,
    waited at most from their creation until their first rank was placed, or their last one started.
    """
    moment = "min(r.placed_at)" if until == "placed_at" else "max(r.started_at)"
    rows = connection.execute(
        sql.SQL(
            "SELECT j.account_id, extract(epoch FROM {moment} - j.created_at)::float8 FROM jobs j"
            " JOIN ranks r ON r.job_id = j.id AND r.attempt = 1 WHERE r.{column} IS NOT NULL"
            " AND j.created_at >= coalesce(%s, j.created_at) GROUP BY j.id"
        ).format(moment=sql.SQL(moment), column=sql.Identifier(until)),
        (since,),
    ).fetchall()
    by_account: dict[str, list[float]] = {}
    for account, seconds in rows:
        by_account.setdefault(account, []).append(seconds)
    return {account: summary(times) for account, times in sorted(by_account.items())}


def summary(times: Sequence[float]) -> tuple[int, float, float]:
    """How many; what half, and all but 5 %, are at most."""
    return len(times), median(times), sorted(times)[int(len(times) * 0.95)]
