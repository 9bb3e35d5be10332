"""Counters over all jobs that there ever were: how long they waited for their turn and for their start, how they
ended. In rows, so that they are the same whoever is asked, and go on after any restart.

A trigger marks each move by a row of its own, in the move's transaction; the sweep counts marks and takes them
away. Whoever reads adds the marks that are not counted yet, in the same statement: nothing is counted twice or not
at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, text

from core.database import Database
from core.states import JOB_ENDED

SCHEDULED: Final = "scheduled"
DISPATCHED: Final = "dispatched"

#: Upper bounds of buckets: from what an idle platform needs to what a full queue costs.
BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
#: Marks that one sweep counts at the most; the next one goes on.
_AT_ONCE = 20_000
#: One at a time: a second one would only wait.
_LOCK = 0x7A_11_1E_5

# A reason is a code of ours; whatever else might get there must not become a series of its own.
_GROUPED = (
    "SELECT kind, CASE WHEN reason ~ '^([A-Z][A-Z0-9_]{0,39})?$' THEN reason ELSE 'OTHER' END AS reason,"
    " coalesce((SELECT min(bound) FROM unnest(CAST(:bounds AS float8[])) AS bound WHERE bound >= seconds),"
    " 'Infinity') AS at_most_seconds, count(*) AS moves, sum(seconds) AS seconds"
)
_FOLD = text(
    "WITH counted AS (DELETE FROM job_marks"  # noqa: S608
    " WHERE id IN (SELECT id FROM job_marks ORDER BY id LIMIT :most)"
    f" RETURNING kind, reason, seconds) INSERT INTO job_tallies AS t {_GROUPED} FROM counted GROUP BY 1, 2, 3"
    " ON CONFLICT (kind, reason, at_most_seconds) DO UPDATE SET moves = t.moves + EXCLUDED.moves,"
    " seconds = t.seconds + EXCLUDED.seconds"
)
_READ = text(
    "SELECT kind, reason, at_most_seconds, sum(moves)::bigint AS moves, sum(seconds) AS seconds FROM"  # noqa: S608
    f" (SELECT * FROM job_tallies UNION ALL ({_GROUPED} FROM job_marks GROUP BY 1, 2, 3)) AS every"
    " GROUP BY 1, 2, 3"
)


@dataclass(frozen=True)
class Durations:
    """How many took how long: counts by the upper bound of their bucket, each bucket for itself."""

    counts: Mapping[float, int] = field(default_factory=dict)
    sum_seconds: float = 0.0


@dataclass(frozen=True)
class Tallies:
    """`ended`: jobs by (state, reason). A job that is tried again is scheduled and dispatched more than once."""

    scheduling: Durations
    dispatch: Durations
    ended: Mapping[tuple[str, str], int]


def count_marks(database: Database) -> None:
    """Count what is marked. Nothing where another does so now."""
    with database.transaction() as connection:
        if connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar_one():
            connection.execute(_FOLD, {"most": _AT_ONCE, "bounds": list(BOUNDS)})


def read_tallies(connection: Connection) -> Tallies:
    """All counts since the tables were made."""
    counts: defaultdict[str, defaultdict[float, int]] = defaultdict(lambda: defaultdict(int))
    sums: defaultdict[str, float] = defaultdict(float)
    ended: dict[tuple[str, str], int] = {}
    for row in connection.execute(_READ, {"bounds": list(BOUNDS)}):
        if row.kind in JOB_ENDED:
            ended[row.kind, row.reason] = row.moves
        else:
            counts[row.kind][row.at_most_seconds] += row.moves
            sums[row.kind] += row.seconds
    return Tallies(
        Durations(counts[SCHEDULED], sums[SCHEDULED]), Durations(counts[DISPATCHED], sums[DISPATCHED]), ended
    )
