"""The judge of a simulation: samples of rows while it runs, and rows and the fleet's tally when it is over.

It knows the schema and what was asked for, and nothing of how the platform works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from tests.bench.simulated_work import SimulatedJob

_EVERY_SECONDS = 0.25
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
class Sampler:
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
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
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
                self._ending.wait(max(_EVERY_SECONDS - taken, taken * (1 / _LARGEST_SHARE - 1), 0.0))
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


def check_ends(connection: psycopg.Connection[Any], wanted: Mapping[tuple[str, str], SimulatedJob]) -> list[str]:
    """Faults of the jobs' ends. `wanted`: by account and id, everything that was accepted.

    A job that was to be cancelled may have been over before: only ours end by themselves, so none.
    """
    found: dict[tuple[str, str], Any] = {
        (row[0], row[1]): row
        for row in connection.execute(
            "SELECT j.account_id, j.batch_job_id, j.state, j.num_ranks, j.attempt, count(*) AS ranks,"
            " count(*) FILTER (WHERE r.state NOT IN ('SUCCEEDED', 'FAILED', 'STOPPED', 'LOST')) AS live,"
            " count(*) FILTER (WHERE r.state = 'SUCCEEDED') AS good, j.status, count(r.started_at) AS started"
            " FROM jobs j LEFT JOIN ranks r ON r.job_id = j.id AND r.attempt = j.attempt GROUP BY j.id"
        )
    }
    faults = [f"{key} is gone" for key in wanted.keys() - found.keys()]
    faults += [f"{key} was never asked for" for key in found.keys() - wanted.keys()]
    for key in wanted.keys() & found.keys():
        job, (_, _, state, ranks, attempt, rows, live, good, status, started) = wanted[key], found[key]
        if state != job.end:
            faults.append(f"{key} is {state}, not {job.end}: {status}")
        if (ranks, rows, live) != (job.ranks, job.ranks, 0):
            faults.append(f"{key} has {rows} ranks of {job.ranks}, {live} of them live")
        if state == "COMPLETED" and good != job.ranks:
            faults.append(f"{key} is COMPLETED with {good} good ranks of {job.ranks}")
        # One may fail before the last is started; what ends well ran whole.
        if state == "COMPLETED" and started != job.ranks:
            faults.append(f"{key} is COMPLETED, and {started} of {job.ranks} ranks were started")
        if attempt != 1:
            faults.append(f"{key} took {attempt} attempts")
    return sorted(faults)


def check_tally(tally: Mapping[str, Any], slots: int, started_ranks: int) -> list[str]:
    """Faults that the fleet saw; `started_ranks` are those that the rows say were started."""
    actions: Mapping[str, int] = tally["actions"]
    faults = [f"{name} was created more than once" for name in tally["repeated"]]
    if tally["mostOnOne"] > slots:
        faults.append(f"{tally['mostOnOne']} ran on one engine of {slots} slots")
    if actions.get("create", 0) != actions.get("destroy", 0):
        faults.append(f"{actions.get('create', 0)} containers were made and {actions.get('destroy', 0)} removed")
    if actions.get("start", 0) != actions.get("die", 0) or actions.get("start", 0) < started_ranks:
        faults.append(f"{actions.get('start', 0)} started, {actions.get('die', 0)} ended; rows: {started_ranks}")
    return faults


def waits(connection: psycopg.Connection[Any]) -> dict[str, tuple[int, float, float]]:
    """Of each account's jobs that were placed: how many; seconds that half, and all but 5 %, waited at most."""
    rows = connection.execute(
        "SELECT j.account_id, extract(epoch FROM min(r.placed_at) - j.created_at)::float8 FROM jobs j"
        " JOIN ranks r ON r.job_id = j.id AND r.attempt = 1 WHERE r.placed_at IS NOT NULL GROUP BY j.id"
    ).fetchall()
    by_account: dict[str, list[float]] = {}
    for account, seconds in rows:
        by_account.setdefault(account, []).append(seconds)
    return {
        account: (len(times), median(times), sorted(times)[int(len(times) * 0.95)])
        for account, times in sorted(by_account.items())
    }


def check_fairness(found: Mapping[str, tuple[int, float, float]], greedy: str, slack_seconds: float) -> list[str]:
    """Whoever asks for less waits no longer than who asks for most."""
    bound = found[greedy][1] + slack_seconds if greedy in found else 0.0
    return [
        f"{account} waited {half:.1f} s for half of its jobs, {greedy}, which asked for more, {bound:.1f} s"
        for account, (_, half, _) in found.items()
        if half > bound
    ]


def rates(connection: psycopg.Connection[Any], window_seconds: int = 5) -> dict[str, float]:
    """Ranks per second that were placed, started, ended and freed, in the best window of so many seconds."""
    found: dict[str, float] = {}
    times = sql.SQL("SELECT extract(epoch FROM {0})::float8 FROM ranks WHERE {0} IS NOT NULL ORDER BY 1")
    for name in ("placed_at", "started_at", "ended_at", "released_at"):
        rows = connection.execute(times.format(sql.Identifier(name)))
        moments: Sequence[float] = [row[0] for row in rows]
        best, begin = 0, 0
        for end, moment in enumerate(moments):
            while moments[begin] < moment - window_seconds:
                begin += 1
            best = max(best, end - begin + 1)
        found[name.removesuffix("_at")] = best / window_seconds
    return found
