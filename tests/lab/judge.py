"""The judge of a test on real engines: rows and engines sampled while it runs, and held together when it is over.

Its faults are sentences; a test has passed only where there are none. What is judged, by the names of the
invariants: I1 every job ended; I2 at most one container and one start of a rank of an attempt; I3 nothing left;
I4 no gang runs in part, and what is to be stopped ends in time; I5 rows say what the engines say; I8 no node ever
holds more than its slots.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from core.spec import DEFAULT_STOP_GRACE_SECONDS
from tests.lab.engine_witness import ContainerStory, EngineWitness, Look
from tests.lab.hosts import Host
from tests.lab.platform import Platform, wait_until
from tests.lab.row_sampler import RowSampler, check_job, read_jobs
from worker.engine import RankKey

#: How long after the grace period the last rank of a gang that is being stopped may end.
AFTER_GRACE_SECONDS = 5.0
#: How long a gang may run with some of its ranks only, while it is not being stopped.
PART_RUNNING_SECONDS = 30.0
#: The engines' clocks and the database's are this machine's; their time stamps are rounded differently.
_ROUNDING_SECONDS = 0.01

_RANKS = (
    "SELECT r.job_id, r.attempt, r.rank, r.state, n.name AS node, r.container_id, r.exit_code,"
    " r.started_at, r.ended_at FROM ranks r JOIN jobs j ON j.id = r.job_id LEFT JOIN nodes n ON n.id = r.node_id"
    " WHERE j.created_at >= %s"
)
_STOPS = (
    "SELECT j.id, j.attempt, j.num_ranks, extract(epoch FROM j.stop_requested_at)::float8 AS stop_at,"
    " coalesce((j.spec ->> 'stop_grace_seconds')::float8, %s) AS grace,"
    " coalesce(j.spec ->> 'rank_failure_policy', 'FAIL_ALL') IN ('FAIL_ALL', 'RESTART_ALL') AS fails_all"
    " FROM jobs j WHERE j.created_at >= %s"
)
_GANGS = "SELECT id, attempt, num_ranks, state, stop_requested_at FROM jobs WHERE id = ANY(%s) AND num_ranks > 1"


@dataclass(frozen=True)
class Figures:
    """How near to the bounds it came."""

    looks: int
    row_samples: int
    most_present: Mapping[str, int]
    longest_part_running: float
    #: seconds after the grace period, negative where none of it was needed
    longest_stop: float
    longest_look: float
    longest_start_skew: float


class Judge:
    """Judges every job that is made from its construction until `settle`, on all of a platform's hosts."""

    def __init__(self, platform: Platform, hosts: Sequence[Host]) -> None:
        self._platform = platform
        self._hosts = {host.name: host for host in hosts}
        self._rows: Any = psycopg.connect(platform.database_url, autocommit=True, row_factory=namedtuple_row)
        self.began: datetime = platform.query("SELECT clock_timestamp()")[0][0]
        nodes = self._rows.execute("SELECT name, slots FROM nodes").fetchall()
        self._slots: dict[str, int] = {node.name: node.slots for node in nodes}
        self._faults: dict[str, None] = {}
        self._part_since: dict[tuple[str, int], float] = {}
        self._most_present: dict[str, int] = dict.fromkeys(self._hosts, 0)
        self._longest_part = self._longest_skew = 0.0
        self._longest_stop = -float("inf")
        self._sampler = RowSampler(platform.database_url, PART_RUNNING_SECONDS)
        sockets = {name: host.socket for name, host in self._hosts.items()}
        self._witness = EngineWitness(sockets, platform.installation, self._see)
        self._sampler.start()

    def settle(self, seconds: float = 60) -> Sequence[str]:
        """Wait for the end of everything, stop, and judge: the faults, none where all went right."""
        try:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not self._remains(), seconds, "nothing is left")
            for left in self._remains():
                self._faults[f"{left} is left"] = None
            self._witness.wait_until_gone(5)
        finally:
            self.stop()
        with self._rows:
            self._judge_ends()
        return [*self._faults, *self._sampler.faults, *self._witness.faults]

    def stop(self) -> None:
        """End sampling and listening, without judging."""
        self._witness.stop()
        self._sampler.stop()

    @property
    def stories(self) -> list[ContainerStory]:
        """What the engines have said of every container so far."""
        return self._witness.stories

    @property
    def figures(self) -> Figures:
        """Of what was seen until `settle`."""
        return Figures(
            self._witness.looks,
            self._sampler.count,
            dict(self._most_present),
            max(self._longest_part, self._sampler.longest_half),
            self._longest_stop,
            self._witness.longest_look,
            self._longest_skew,
        )

    def _see(self, look: Look) -> None:
        """I8 by what is there: a slot is free only when its container is gone. I4 by what runs."""
        for host, count in look.present.items():
            self._most_present[host] = max(self._most_present[host], count)
            if count > self._slots.get(host, 0):
                self._faults[f"{host} has {self._slots.get(host, 0)} slots and {count} containers"] = None
        gangs = self._rows.execute(_GANGS, ([job for job, _ in look.running],)).fetchall()
        now = time.monotonic()
        parts = {}
        for gang in gangs:
            key = (gang.id, gang.attempt)
            is_whole = look.running.get(key, 0) in (0, gang.num_ranks)
            if gang.state in ("PENDING", "RUNNING") and gang.stop_requested_at is None and not is_whole:
                parts[key] = self._part_since.get(key, now)
        self._part_since = parts
        for key, since in parts.items():
            self._longest_part = max(self._longest_part, now - since)
            if now - since > PART_RUNNING_SECONDS:
                self._faults[f"{key[0]}: ran in part for more than {PART_RUNNING_SECONDS} s"] = None

    def _remains(self) -> list[str]:
        """What is not over yet, or was not cleared away."""
        with psycopg.connect(self._platform.database_url, autocommit=True) as connection:
            live = connection.execute(
                "SELECT id || ' (' || state || ')' FROM jobs"
                " WHERE created_at >= %s AND state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')",
                (self.began,),
            ).fetchall()
            networks = connection.execute("SELECT 'the address block of ' || job_id FROM gang_networks").fetchall()
        found = [str(name) for (name,) in [*live, *networks]]
        held = self._platform.slots_in_use()
        found += [f"{held} slots in use"] if held else []
        labels = [f"longshore.installation={self._platform.installation}"]
        for name, host in self._hosts.items():
            api = host.engine.api
            containers = api.containers(all=True, filters={"label": labels})
            found += [f"{name}: container {each['Names'][0]}" for each in containers]
            gang = {"label": [*labels, "longshore.network=gang"]}
            found += [f"{name}: network {each['Name']}" for each in api.networks(filters=gang)]
        return found

    def _judge_ends(self) -> None:
        for job in read_jobs(self._rows, self.began):
            self._note(*check_job(job))
        ranks = {
            RankKey(row.job_id, row.attempt, row.rank): row for row in self._rows.execute(_RANKS, (self.began,))
        }
        stories = self._witness.stories
        by_key: defaultdict[RankKey, list[ContainerStory]] = defaultdict(list)
        for story in stories:
            by_key[story.key].append(story)
        for key, of_rank in by_key.items():
            self._note(*check_containers(key, of_rank, ranks.get(key)))
        for key, row in ranks.items():
            if row.started_at is not None and key not in by_key:
                self._note(f"{key.container_name} was started by its row, and no engine knows of it")
        self._judge_attempts(ranks, stories)

    def _judge_attempts(self, ranks: Mapping[RankKey, Any], stories: Sequence[ContainerStory]) -> None:
        of_attempt: defaultdict[tuple[str, int], list[ContainerStory]] = defaultdict(list)
        for story in stories:
            of_attempt[story.key.job_id, story.key.attempt].append(story)
        # What the machine kept from the witness, which asks the engines once, it kept from a stop as well, which
        # asks them three times: to end the ranks, to kill them, and how they ended.
        stalled = 3 * self._witness.longest_look
        for job in self._rows.execute(_STOPS, (DEFAULT_STOP_GRACE_SECONDS, self.began)):
            last_death = 0.0
            for attempt in range(1, job.attempt + 1):
                heard = of_attempt[job.id, attempt]
                starts = [at for story in heard for at in story.starts]
                deaths = [story.died_at for story in heard if story.died_at is not None]
                if len(starts) == job.num_ranks:
                    self._longest_skew = max(self._longest_skew, max(starts) - min(starts))
                if starts and min(starts) < last_death - _ROUNDING_SECONDS:
                    self._note(f"{job.id}: attempt {attempt} began before the one before it had ended")
                last_death = max(deaths, default=last_death)
                told_at = _told_at(job, attempt, ranks)
                if told_at is None or not deaths:
                    continue
                took = max(deaths) - told_at
                self._longest_stop = max(self._longest_stop, took - job.grace)
                if took > job.grace + AFTER_GRACE_SECONDS + stalled:
                    self._note(f"{job.id}: its last rank ended {took:.1f} s after the stop; grace {job.grace} s")

    def _note(self, *faults: str) -> None:
        self._faults.update(dict.fromkeys(faults))


def _told_at(job: Any, attempt: int, ranks: Mapping[RankKey, Any]) -> float | None:
    """When an attempt was to be stopped: its first failure, or the request; None where it never was."""
    moments = [] if job.stop_at is None or attempt != job.attempt else [job.stop_at]
    if job.fails_all:
        failed = [
            row.ended_at.timestamp()
            for key, row in ranks.items()
            if (key.job_id, key.attempt) == (job.id, attempt) and row.state in ("FAILED", "LOST") and row.ended_at
        ]
        moments += failed
    return min(moments, default=None)


def check_containers(key: RankKey, stories: Sequence[ContainerStory], row: Any) -> list[str]:
    """What the engines say of one rank's container against its row."""
    name = key.container_name
    if row is None:
        return [f"{name} was made, and no row explains it"]
    if len(stories) > 1:
        return [f"{name} was {len(stories)} containers"]
    (story,) = stories
    faults = []
    if len(story.starts) > 1:
        faults.append(f"{name} was started {len(story.starts)} times")
    if story.host != row.node:
        faults.append(f"{name} ran on {story.host}, and its row says {row.node}")
    if row.container_id is not None and row.container_id != story.container_id:
        faults.append(f"{name} is another container than its row says")
    if story.starts and story.died_at is None:
        faults.append(f"{name} never ended")
    if bool(story.starts) != (row.started_at is not None):
        faults.append(f"{name} was started {len(story.starts)} times, and its row says {row.started_at}")
    if story.starts and row.exit_code != story.exit_code:
        faults.append(f"{name} exited with {story.exit_code}, and its row says {row.exit_code}")
    if (row.state == "SUCCEEDED") != (bool(story.starts) and story.exit_code == 0):
        faults.append(f"{name} is {row.state}, and its engine says exit code {story.exit_code}")
    return faults
