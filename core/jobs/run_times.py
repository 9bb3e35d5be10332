"""How long jobs run, from the runs seen, and when those that run now are expected to end.

A job's run timeout is what counts where it has one: the platform keeps it. Else the ninth of ten past runs of the
same account and image in the pool, or of the whole pool where there are few: rather too long than too short,
since a start that is promised too early is worse than one that comes sooner than was said.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from core.placement.values import SLOT, UNKNOWN, Need, Release

#: So many runs of the pool are looked at, the last ones.
RUNS_SEEN = 500
#: Fewer runs than this say nothing.
MINIMUM_RUNS = 3
#: Ranks that are told to stop are gone within about their grace period.
_STOPPING_SECONDS = 15.0


@dataclass(frozen=True)
class RunTimes:
    """Past runs in seconds, sorted: of the whole pool, and by account and image."""

    of_pool: tuple[float, ...] = ()
    of_image: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def from_runs(cls, runs: Iterable[tuple[str, str, Iterable[float]]]) -> RunTimes:
        """From the seconds of the runs of each account and image."""
        of_image = {(account, image): tuple(sorted(seconds)) for account, image, seconds in runs}
        return cls(tuple(sorted(each for runs in of_image.values() for each in runs)), of_image)

    def remaining(self, account: str, image: str, timeout: float | None, age: float = 0.0) -> float | None:
        """Seconds that a job which has run for `age` seconds goes on; None where nobody can know.

        Of past runs only those count that lasted longer than this one has.
        """
        if timeout is not None:
            return max(timeout - age, 0.0)
        for seen in (self.of_image.get((account, image), ()), self.of_pool):
            longer = seen[bisect_right(seen, age) :]
            if len(seen) >= MINIMUM_RUNS:
                return longer[len(longer) * 9 // 10] - age if longer else None
        return None


_RUNS = text(
    "WITH last AS (SELECT account_id, image_ref, extract(epoch FROM ended_at - started_at)::float8 AS seconds"
    " FROM jobs WHERE pool_id = :pool AND state = 'COMPLETED' ORDER BY ended_at DESC LIMIT :seen)"
    " SELECT account_id, image_ref, array_agg(seconds) FROM last WHERE seconds IS NOT NULL GROUP BY 1, 2"
)
# Of the jobs only those that hold room are looked at, by their index; ranks of one that has ended are on their way
# out.
_HOLDING = text(
    "SELECT r.node_id, r.cpu_milli, r.memory_bytes, count(*) AS ranks, j.account_id, j.image_ref,"
    " j.run_timeout_seconds, j.id IS NULL OR j.stop_requested_at IS NOT NULL AS is_stopping,"
    " coalesce(extract(epoch FROM now() - j.started_at), 0)::float8 AS age,"
    " coalesce(extract(epoch FROM now() - min(r.placed_at)), 0)::float8 AS held"
    " FROM nodes n JOIN ranks r ON r.node_id = n.id AND r.released_at IS NULL"
    " LEFT JOIN jobs j ON j.id = r.job_id AND j.pool_id = :pool"
    " AND j.state IN ('PENDING', 'RUNNING', 'CANCELLING', 'DELETING')"
    " WHERE n.pool_id = :pool AND n.state = 'READY' AND n.deleted_at IS NULL"
    " GROUP BY r.node_id, r.cpu_milli, r.memory_bytes, r.job_id, j.id"
)


def read_run_times(connection: Connection, pool_row: int) -> RunTimes:
    """The last runs in a pool."""
    rows = connection.execute(_RUNS, {"pool": pool_row, "seen": RUNS_SEEN})
    return RunTimes.from_runs((row[0], row[1], row[2]) for row in rows)


def read_releases(connection: Connection, pool_row: int, times: RunTimes) -> tuple[Release, ...]:
    """All that holds room on the pool's nodes, and when it is expected to end."""
    releases = []
    rows = connection.execute(_HOLDING, {"pool": pool_row})
    for node, cpu, memory, ranks, account, image, timeout, is_stopping, age, held in rows:
        ends_in = _STOPPING_SECONDS if is_stopping else times.remaining(account, image, timeout, age)
        need = SLOT if cpu is None and memory is None else Need(cpu, memory)
        releases.append(Release(node, ranks, UNKNOWN if ends_in is None else ends_in, held, need))
    return tuple(releases)
