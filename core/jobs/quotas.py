"""How much an account may have under way: live jobs and their ranks. Exact, and cheap far from the limit.

Counts come from the shards that a trigger keeps, which a transaction sees once the others have committed. So
a submission holds a lock of its account while it counts and stores: shared as long as the limit is far, alone
when it is near.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from core.errors import LiveJobsSpent, ResourceExhausted, Superseded

#: Submissions of one account that may be under way at the same time without being able to pass the limit.
_MARGIN = 64
#: The first of the two numbers of an advisory lock of ours; the second is the account's hash.
_LOCK_CLASS = 0x51_00_7A


@dataclass(frozen=True)
class Limits:
    """The platform's own, for accounts that have none of theirs."""

    max_live_jobs: int
    max_live_ranks: int


class QuotaNear(Exception):
    """The limit is near enough that this submission must be counted alone: do it again so."""


_ALONE = text("SELECT pg_advisory_xact_lock(:lock, hashtext(:account))")
_COUNT = (
    "SELECT a.max_live_jobs, a.max_live_ranks, coalesce(sum(c.live_jobs), 0), coalesce(sum(c.live_ranks), 0)"
    " FROM accounts a LEFT JOIN job_counts c ON c.account_id = a.id WHERE a.id = :account GROUP BY a.id"
)
_COUNT_ALONE = text(_COUNT)
# Counted as of before the lock was had; the margin is for what others store meanwhile.
_COUNT_SHARED = text(
    f"SELECT counted.* FROM ({_COUNT}) AS counted,"  # noqa: S608
    " (SELECT pg_advisory_xact_lock_shared(:lock, hashtext(:account))) AS locked"
)


#: For a statement that stores a job by itself: a table of one row, `ok` where the limit is far.
FAR_FROM_LIMIT = (
    "SELECT coalesce(sum(c.live_jobs), 0) + :margin < coalesce(a.max_live_jobs, :max_jobs)"
    " AND coalesce(sum(c.live_ranks), 0) + :margin * :num_ranks < coalesce(a.max_live_ranks, :max_ranks) AS ok"
    " FROM (SELECT pg_advisory_xact_lock_shared(:lock, hashtext(:account))) AS locked, accounts a"
    " LEFT JOIN job_counts c ON c.account_id = a.id WHERE a.id = :account GROUP BY a.id"
)


def far_from_limit(limits: Limits) -> dict[str, int]:
    """The values of `FAR_FROM_LIMIT` beside `account` and `num_ranks`."""
    return {
        "lock": _LOCK_CLASS,
        "margin": _MARGIN,
        "max_jobs": limits.max_live_jobs,
        "max_ranks": limits.max_live_ranks,
    }


def check_quota(connection: Connection, account: str, num_ranks: int, limits: Limits, *, alone: bool) -> None:
    """Raises LiveJobsSpent where one more job is too much, ResourceExhausted where so many ranks are; QuotaNear
    unless `alone`."""
    who = {"lock": _LOCK_CLASS, "account": account}
    if alone:
        connection.execute(_ALONE, who)
    counting = _COUNT_ALONE if alone else _COUNT_SHARED
    counted = connection.execute(counting, who).first()
    if counted is None:
        raise Superseded("the account is gone")
    own_jobs, own_ranks, jobs, ranks = counted
    max_jobs = limits.max_live_jobs if own_jobs is None else own_jobs
    max_ranks = limits.max_live_ranks if own_ranks is None else own_ranks
    if not alone and (jobs + _MARGIN >= max_jobs or ranks + _MARGIN * num_ranks >= max_ranks):
        raise QuotaNear
    if jobs + 1 > max_jobs:
        raise LiveJobsSpent(
            f"the account may have {max_jobs} jobs that have not ended; wait for one to end, or cancel one"
        )
    if ranks + num_ranks > max_ranks:
        raise ResourceExhausted(
            f"the account may have {max_ranks} ranks in jobs that have not ended, and has {ranks}:"
            f" {num_ranks} more are too many"
        )
