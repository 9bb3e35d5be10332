"""Which of what ended attempts left is kept no longer, and how it is written down that it has been removed.

Oldest first: what is older than an account's age, then what is over its size. Rows say that it has gone before any
object does, so that no reader takes a part for the whole; the objects are doomed in the same transaction. Jobs,
ranks, exits and history stay.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text

from core.database import Database
from core.jobs.object_paths import attempt_folder
from core.jobs.objects import doom
from core.states import JOB_ENDED


@dataclass(frozen=True)
class Retention:
    """The platform's own, for accounts that have none of theirs; 0 = for ever, and of any size."""

    days: float = 0
    bytes: int = 0


@dataclass(frozen=True)
class ObjectKind:
    """One kind of what an attempt leaves in the object store, below a `folder` of its own (`object_paths.KINDS`).

    Its `table` has rows of each attempt, or of each of its ranks, with account, bytes and removal as
    `packed_attempts` has them, the time from which they age, an index as `ix_packed_attempts_kept` and a trigger
    that calls `count_kept_bytes`. `leading` is the table of the rows that lead to the objects: they go with them.
    """

    folder: str
    table: str
    leading: str
    aged_from: str = "ended_at"
    #: which row `p` stands for its attempt, that must have ended; and how much the attempt takes
    only: str = "true"
    bytes: str = "p.object_bytes"


#: All that is subject to retention; another kind is one more line here.
# An attempt is as old as the last that a rank of it left: that one stands for all, which go together.
_OTHERS = "FROM rank_outputs o WHERE o.job_id = p.job_id AND o.attempt = p.attempt AND o.removed_at IS NULL"
_LAST_OF_ENDED = (
    "EXISTS (SELECT 1 FROM jobs j WHERE j.id = p.job_id AND (j.attempt > p.attempt OR j.state = ANY(:ended)))"  # noqa: S608
    f" AND NOT EXISTS (SELECT 1 {_OTHERS} AND (o.collected_at, o.rank) > (p.collected_at, p.rank))"
)
OBJECT_KINDS = (
    ObjectKind("logs", "packed_attempts", "log_objects"),
    ObjectKind(
        "outputs",
        "rank_outputs",
        "output_files",
        aged_from="collected_at",
        only=_LAST_OF_ENDED,
        bytes=f"(SELECT sum(o.object_bytes)::bigint {_OTHERS})",
    ),
)
_KINDS = {kind.folder: kind for kind in OBJECT_KINDS}


@dataclass(frozen=True)
class Expired:
    """Objects of one kind that an attempt left, and why they are kept no longer."""

    folder: str
    job_id: str
    attempt: int
    because: str


def _of_each_kind(before: str = "") -> str:
    """The oldest of the account `a` of each kind, a few steps into an index for each that is found."""
    found = []
    for kind in OBJECT_KINDS:
        age = f"p.{kind.aged_from}"
        condition = kind.only + (f" AND {age} < {before}" if before else "")
        found.append(
            f"(SELECT '{kind.folder}' AS folder, p.job_id, p.attempt, {age} AS ended_at,"  # noqa: S608
            f" {kind.bytes} AS object_bytes"
            f" FROM {kind.table} p WHERE p.account_id = a.id AND p.removed_at IS NULL AND {condition}"
            f" ORDER BY {age}, p.job_id, p.attempt LIMIT :most)"
        )
    return " UNION ALL ".join(found)


_ORDER = "p.ended_at, p.job_id, p.attempt"
_AGE = "CROSS JOIN LATERAL (SELECT coalesce(a.retention_days, CAST(:days AS double precision)) AS days) l"
_BEFORE = "now() - make_interval(secs => 86400 * l.days)"
_OLD = text(
    f"SELECT k.folder, k.job_id, k.attempt, l.days FROM accounts a {_AGE}"  # noqa: S608
    f" CROSS JOIN LATERAL ({_of_each_kind(_BEFORE)}) k"
    " WHERE l.days > 0 ORDER BY k.ended_at, k.job_id, k.attempt LIMIT :most"
)
# Sum and rows are of one snapshot: what two workers find at the same time is the same, not twice as much.
_OVER = text(
    "WITH counted AS (SELECT a.id, coalesce(a.retention_bytes, CAST(:bytes AS bigint)) AS most_bytes,"  # noqa: S608
    " sum(c.object_bytes) AS object_bytes FROM accounts a JOIN kept_bytes c ON c.account_id = a.id"
    " WHERE coalesce(a.retention_bytes, CAST(:bytes AS bigint)) > 0 GROUP BY a.id)"
    " SELECT k.folder, k.job_id, k.attempt, a.most_bytes FROM counted a CROSS JOIN LATERAL ("
    f"SELECT p.*, sum(p.object_bytes) OVER (ORDER BY {_ORDER}, p.folder) - p.object_bytes AS older_bytes"
    f" FROM ({_of_each_kind()}) p ORDER BY {_ORDER}, p.folder) k"
    " WHERE a.object_bytes > a.most_bytes AND k.older_bytes < a.object_bytes - a.most_bytes"
    " ORDER BY k.ended_at, k.job_id, k.attempt LIMIT :most"
)


def find_expired(database: Database, retention: Retention, most: int) -> list[Expired]:
    """What is too old, or of an account that has too much; the oldest first, and `most` of it."""
    with database.transaction() as connection:
        bounds = {"most": most, "ended": [state.value for state in JOB_ENDED]}
        old = connection.execute(_OLD, {"days": retention.days, **bounds}).all()
        over = connection.execute(_OVER, {"bytes": retention.bytes, **bounds}).all()
    # What is too old counts for the size as well, and is the oldest of all.
    because = {
        **{
            _key(row): f"its account had more than {row.most_bytes} bytes of output, and the oldest goes first"
            for row in over
        },
        **{_key(row): f"output is kept for {row.days:g} day{'' if row.days == 1 else 's'}" for row in old},
    }
    return [Expired(*key, because[key]) for key in dict.fromkeys(map(_key, [*old, *over]))][:most]


def _key(row: Row[Any]) -> tuple[str, str, int]:
    return (row.folder, row.job_id, row.attempt)


# As whoever says that an attempt has been packed: a deletion locks the job first.
_JOB = text("SELECT 1 FROM jobs WHERE id = :job FOR KEY SHARE")


def remove_expired(database: Database, expired: Expired) -> bool:
    """From now on it has been removed, and its objects are doomed. False where that was said before, or its job is
    gone."""
    kind, key = _KINDS[expired.folder], {"job": expired.job_id, "attempt": expired.attempt}
    with database.transaction() as connection:
        if connection.execute(_JOB, key).first() is None:
            return False
        said = connection.execute(
            text(
                f"UPDATE {kind.table} SET removed_at = now(), removed_because = :because"  # noqa: S608
                " WHERE job_id = :job AND attempt = :attempt AND removed_at IS NULL"
            ),
            {**key, "because": expired.because},
        )
        if said.rowcount == 0:
            return False
        leading = f"DELETE FROM {kind.leading} WHERE job_id = :job AND attempt = :attempt"  # noqa: S608
        connection.execute(text(leading), key)
        doom(connection, [attempt_folder(expired.folder, expired.job_id, expired.attempt)])
    return True


def removed_among(database: Database, folder: str, attempts: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of these attempts whose objects of a kind have been removed: what is there all the same, a worker left
    that was frozen for that long."""
    kind = _KINDS.get(folder)
    if kind is None or not attempts:
        return set()
    asked = text(
        f"SELECT p.job_id, p.attempt FROM {kind.table} p JOIN"  # noqa: S608
        " unnest(CAST(:jobs AS text[]), CAST(:attempts AS int[])) AS g(job_id, attempt) USING (job_id, attempt)"
        " WHERE p.removed_at IS NOT NULL"
    )
    jobs, numbers = zip(*attempts, strict=True)
    with database.transaction() as connection:
        rows = connection.execute(asked, {"jobs": list(jobs), "attempts": list(numbers)})
        return {(row.job_id, row.attempt) for row in rows}


# Age alone: they are in the database, and so of no account's size. Whoever deletes a job has its rows locked, and
# is not waited for.
_OLD_NOTEBOOKS = text(
    f"WITH old AS (SELECT k.*, l.days FROM accounts a {_AGE} CROSS JOIN LATERAL ("  # noqa: S608
    "SELECT n.job_id, n.attempt, n.rank FROM notebooks n JOIN jobs j ON j.id = n.job_id"
    f" WHERE n.account_id = a.id AND n.removed_at IS NULL AND n.kept_at < {_BEFORE}"
    f" AND (j.attempt > n.attempt OR j.state = ANY(:ended) AND j.ended_at < {_BEFORE})"
    " ORDER BY n.kept_at LIMIT :most FOR UPDATE OF n SKIP LOCKED) k WHERE l.days > 0 LIMIT :most)"
    " UPDATE notebooks n SET content = NULL, removed_at = now(), removed_because ="
    " 'executed notebooks are kept for ' || o.days || CASE o.days WHEN 1 THEN ' day' ELSE ' days' END"
    " FROM old o WHERE n.job_id = o.job_id AND n.attempt = o.attempt AND n.rank = o.rank"
)


def remove_old_notebooks(database: Database, retention: Retention, most: int) -> int:
    """Remove executed notebooks of ended attempts that are too old, the oldest first; how many."""
    asked = {"days": retention.days, "most": most, "ended": [state.value for state in JOB_ENDED]}
    with database.transaction() as connection:
        return connection.execute(_OLD_NOTEBOOKS, asked).rowcount
