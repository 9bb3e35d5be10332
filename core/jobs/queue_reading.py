"""What a scheduling pass looks at: the pool's room and the heads of its accounts' queues, however many wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from core.database import Database
from core.jobs.pool_room import read_pool_room
from core.jobs.run_times import RunTimes, read_releases, read_run_times
from core.placement.reservations import PATIENCE_SECONDS
from core.placement.values import Need, Snapshot, WaitingJob

#: How many queued jobs one pass looks at, shared out evenly among the accounts that have some, at least one
#: of each; the rest are seen when these have moved on.
PASS_LIMIT = 500

# Each account by one look at the index: reading 10,000 queued rows to find two accounts would not do.
_ACCOUNTS = (
    "WITH RECURSIVE found AS ((SELECT account_id FROM jobs WHERE pool_id = :pool AND state = 'QUEUED'"
    " ORDER BY account_id LIMIT 1) UNION ALL SELECT (SELECT j.account_id FROM jobs j WHERE j.pool_id = :pool"
    " AND j.state = 'QUEUED' AND j.account_id > found.account_id ORDER BY j.account_id LIMIT 1)"
    " FROM found WHERE found.account_id IS NOT NULL),"
    " accounts AS MATERIALIZED (SELECT account_id FROM found WHERE account_id IS NOT NULL)"
)
_HEADS = text(
    f"{_ACCOUNTS} SELECT head.*, now() AS at, (SELECT count(*) FROM accounts) AS accounts"  # noqa: S608
    " FROM accounts CROSS JOIN LATERAL ("
    "SELECT id, attempt, account_id, num_ranks, priority, cpu_milli, memory_bytes, node_labels, avoided_nodes,"
    " run_timeout_seconds, image_ref, status, reason, queue_position, estimated_start_at,"
    " extract(epoch FROM now() - created_at)::float8 AS waited"
    " FROM jobs WHERE pool_id = :pool AND state = 'QUEUED' AND account_id = accounts.account_id"
    # One that is to be tried again later has no turn before.
    " AND (not_before_at IS NULL OR not_before_at <= now()) AND id <> ALL(CAST(:skipped AS text[]))"
    " ORDER BY priority DESC, created_at, id"
    " LIMIT (SELECT greatest(1, :limit / greatest(count(*), 1)) FROM accounts)) head"
)
_IN_USE = text(
    "SELECT account_id, sum(num_ranks)::bigint FROM jobs WHERE pool_id = :pool"
    " AND state IN ('PENDING', 'RUNNING', 'CANCELLING', 'DELETING') GROUP BY account_id"
)


def take_snapshot(
    database: Database, pool_row: int, *, with_room: bool = False, skipped: Sequence[str] = ()
) -> Snapshot:
    """The pool's room and the heads of its queue; `with_room` looks at everything although none waits.

    `skipped` are jobs that are to be looked past, by id, so that what is behind them is seen.
    Who holds what is read only where more than one account waits, and when it will end only where a job has
    waited for long: an idle pool's pass costs two queries.
    """
    with database.transaction() as connection:
        heads = connection.execute(_HEADS, {"pool": pool_row, "limit": PASS_LIMIT, "skipped": list(skipped)}).all()
        if not heads and not with_room:
            return Snapshot(pool_row, (), ())
        room = read_pool_room(connection, pool_row)
        several = with_room or (bool(heads) and heads[0].accounts > 1)
        is_late = with_room or any(row.waited >= PATIENCE_SECONDS for row in heads)
        times = read_run_times(connection, pool_row) if is_late else RunTimes()
        return Snapshot(
            pool_row,
            room.nodes,
            tuple(_waiting(row, times) for row in heads),
            in_use=_slots_in_use(connection, pool_row) if several else {},
            releases=read_releases(connection, pool_row, times) if is_late else None,
            may_span=room.may_span,
            has_gpus=room.has_gpus,
            is_cut=_is_cut(heads),
            at=connection.execute(text("SELECT now()")).scalar_one() if with_room else heads[0].at,
        )


def _slots_in_use(connection: Connection, pool_row: int) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(_IN_USE, {"pool": pool_row})}


def _is_cut(heads: Sequence[Row[Any]]) -> bool:
    if not heads:
        return False
    of_each: int = max(1, PASS_LIMIT // max(heads[0].accounts, 1))
    of_most: int = max(Counter(row.account_id for row in heads).values())
    return of_most >= of_each


def _waiting(row: Row[Any], times: RunTimes) -> WaitingJob:
    return WaitingJob(
        id=row.id,
        attempt=row.attempt,
        num_ranks=row.num_ranks,
        waited_seconds=row.waited,
        status=row.status,
        account=row.account_id,
        priority=row.priority,
        need=Need(row.cpu_milli, row.memory_bytes),
        labels=tuple(sorted(row.node_labels.items())),
        avoided=frozenset(row.avoided_nodes),
        run_seconds=times.remaining(row.account_id, row.image_ref, row.run_timeout_seconds),
        is_limited=row.run_timeout_seconds is not None,
        reason=row.reason,
        position=row.queue_position,
        starts_at=row.estimated_start_at,
    )
