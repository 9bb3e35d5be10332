"""What becomes of the ranks of a node that has been silent for too long; a shorter silence decides nothing.

A rank that was never started is lost for good: nothing of it runs, and what is left of its container is an orphan
that the node's supervisor removes when the node is back. One that was started may still run there. It is lost to
its job, but it keeps its slot until the node has answered and its container is gone: until then no other attempt
of the job begins, so that no two ever run at the same time.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from core.database import Database
from core.errors import Superseded
from core.jobs import rank_moves
from core.jobs.retrying import NODE_LOST
from core.jobs.stopping import LockedJob, Settled, lock_job, settle
from core.states import RankState

#: Ranks of nodes that have not answered for so long, and that no step holds.
_SILENT = text(
    "SELECT DISTINCT r.job_id, r.attempt, n.id, n.name FROM nodes n JOIN ranks r ON r.node_id = n.id"
    " AND r.released_at IS NULL WHERE n.state = 'DOWN' AND n.state_since < now() - make_interval(secs => :seconds)"
    " AND r.state = ANY(:live) AND (r.lease_until IS NULL OR r.lease_until < now())"
)
_STILL_SILENT = text(
    "SELECT 1 FROM nodes WHERE id = :node AND state = 'DOWN'"
    " AND state_since < now() - make_interval(secs => :seconds) FOR SHARE"
)
_NEVER_STARTED = frozenset({RankState.PLACED, RankState.CREATED})
_LIVE = _NEVER_STARTED | {RankState.CREATING, RankState.STARTING, RankState.RUNNING}


def lose_silent_nodes(database: Database, after_seconds: float) -> list[Settled]:
    """End the ranks of nodes that have been DOWN for so long, and judge their jobs; what is to be rung for.

    Each attempt on each node in a transaction of its own: two sweeps at a time do it once.
    """
    with database.transaction() as connection:
        asked = {"seconds": after_seconds, "live": [state.value for state in _LIVE]}
        found = connection.execute(_SILENT, asked).all()
    done: list[Settled] = []
    for job_id, attempt, node_id, node in found:
        try:
            with database.transaction() as connection:
                job = lock_job(connection, job_id)
                if job.attempt != attempt or not _is_silent(connection, node_id, after_seconds):
                    continue
                if _lose(connection, job, node_id, node, after_seconds):
                    done.append(settle(connection, lock_job(connection, job_id)))
        except Superseded:
            continue
    return done


def _is_silent(connection: Connection, node_id: int, seconds: float) -> bool:
    """Looked at again once the job is locked: the node may just have answered."""
    return connection.execute(_STILL_SILENT, {"node": node_id, "seconds": seconds}).first() is not None


def _lose(connection: Connection, job: LockedJob, node_id: int, node: str, seconds: float) -> bool:
    """Whether any rank was lost. Of a job that is being stopped, one that never ran is STOPPED instead."""
    never_ran = RankState.LOST if job.stop_requested_at is None else RankState.STOPPED
    message = f"node {node} has not answered for {seconds:g} s"
    lost: list[int] = []
    for to, sources, unheld, released in (
        (never_ran, _NEVER_STARTED, None, True),
        (never_ran, frozenset({RankState.CREATING}), RankState.PLACED, True),
        (RankState.LOST, frozenset({RankState.STARTING}), RankState.CREATED, False),
        (RankState.LOST, frozenset({RankState.RUNNING}), None, False),
    ):
        lost += rank_moves.move_ranks(
            connection,
            job.id,
            job.attempt,
            to,
            node_id=node_id,
            sources=sources,
            # A state that is not among the sources: whether a step's lease is over is then all that counts.
            unheld_unless=unheld,
            reason=NODE_LOST,
            message=message,
            released=released,
        )
    return bool(lost)
