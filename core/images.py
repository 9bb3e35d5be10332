"""Images wanted on nodes. One row per (node, image), so one pull, however many jobs wait for it.

A launch step asks and goes away; the supervisor that holds the node pulls, reports, and rings for the jobs
that wait. Losing the ring costs a sweep; losing the supervisor, a new one finds the row still WANTED.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.jobs.stopping import StopOrder
from core.models import ImagePull, Job, Node, Rank
from core.states import RankState

#: The channel on which supervisors are told of rows that are of interest to them; the payload is a node id.
WAKE_CHANNEL = "longshore_node"


@dataclass(frozen=True)
class PullFailure:
    """Why the pull that a job waited for failed."""

    reason: str
    message: str


def request_pull(
    database: Database, node_id: int, image_ref: str, job_id: str, attempt: int
) -> PullFailure | None:
    """Ask for an image on a node; the failure instead, if a pull that this attempt waited for failed.

    A pull that ended before the attempt was placed there says nothing about it: it is asked for again.
    """
    with database.transaction() as connection:
        placed_at = connection.execute(
            select(func.min(Rank.placed_at)).where(
                Rank.job_id == job_id, Rank.attempt == attempt, Rank.node_id == node_id
            )
        ).scalar()
        row = connection.execute(
            select(ImagePull.state, ImagePull.reason, ImagePull.message, ImagePull.ended_at).where(
                ImagePull.node_id == node_id, ImagePull.image_ref == image_ref
            )
        ).first()
        if row is not None and row.state == "FAILED" and placed_at and row.ended_at >= placed_at:
            return PullFailure(row.reason, row.message)
        connection.execute(
            upsert(ImagePull)
            .values(node_id=node_id, image_ref=image_ref, state="WANTED")
            .on_conflict_do_update(
                index_elements=[ImagePull.node_id, ImagePull.image_ref],
                set_={"state": "WANTED", "wanted_at": func.now(), "ended_at": None},
                where=ImagePull.state != "WANTED",
            )
        )
        connection.execute(
            text("SELECT pg_notify(:channel, :node)"), {"channel": WAKE_CHANNEL, "node": str(node_id)}
        )
    return None


def wanted_images(database: Database, node_id: int) -> list[str]:
    """The images that are to be pulled on a node."""
    with database.transaction() as connection:
        rows = connection.execute(
            select(ImagePull.image_ref)
            .where(ImagePull.node_id == node_id, ImagePull.state == "WANTED")
            .order_by(ImagePull.wanted_at)
        )
        return list(rows.scalars())


def record_pull(database: Database, node_id: int, image_ref: str, failure: PullFailure | None) -> list[StopOrder]:
    """A pull has ended; the launches that waited for it, to be rung for."""
    with database.transaction() as connection:
        connection.execute(
            update(ImagePull)
            .where(ImagePull.node_id == node_id, ImagePull.image_ref == image_ref)
            .values(
                state="READY" if failure is None else "FAILED",
                reason=failure.reason if failure else "",
                message=failure.message if failure else "",
                ended_at=func.clock_timestamp(),
            )
        )
        rows = connection.execute(
            select(Node.worker_group, Rank.job_id, Rank.attempt)
            .distinct()
            .select_from(Rank)
            .join(Job, Job.id == Rank.job_id)
            .join(Node, Node.id == Rank.node_id)
            .where(*_waits_for(node_id, image_ref))
        )
        return [StopOrder(row[0], row[1], row[2], node_id) for row in rows]


def jobs_waiting_for(database: Database, node_id: int, image_ref: str) -> list[str]:
    """The jobs that this pull holds up, for their progress."""
    with database.transaction() as connection:
        rows = connection.execute(
            select(Rank.job_id).distinct().join(Job, Job.id == Rank.job_id).where(*_waits_for(node_id, image_ref))
        )
        return list(rows.scalars())


def _waits_for(node_id: int, image_ref: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Rank.node_id == node_id,
        Rank.state == RankState.PLACED.value,
        # By its reference at first; by its digest once that is known (a further node of the gang).
        or_(Job.image_ref == image_ref, Job.image_digest == image_ref),
    )
