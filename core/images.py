"""Images wanted on nodes. One row per (node, image, credential), so one pull, however many jobs wait for it.

A launch step asks and goes away; the supervisor that holds the node pulls, reports, and rings for the jobs
that wait. Losing the ring costs a sweep; losing the supervisor, a new one finds the row still WANTED.

A row that is READY because a registry granted the image is proof that its credential may have it. Images of
private repositories, which an account's own secret has brought to a node, need such proof and need it fresh:
that they are on the node already says nothing about who may run them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.jobs.stopping import StopOrder
from core.models import ImagePull, Job, Node, PrivateRepository, Rank, Secret
from core.states import RankState

#: The channel on which supervisors are told of rows that are of interest to them; the payload is a node id.
WAKE_CHANNEL = "longshore_node"
#: The credential of jobs that name no secret: what the operator has set up, or none.
OPERATORS_CREDENTIAL = 0
#: A READY row whose image was found on the node and no registry was asked: proves nothing.
_UNPROVED = "FOUND_ON_NODE"


@dataclass(frozen=True)
class PullFailure:
    """Why the pull that a job waited for failed."""

    reason: str
    message: str


@dataclass(frozen=True)
class WantedImage:
    """An image and the credential it is wanted with: the row id of a secret, or `OPERATORS_CREDENTIAL`."""

    image_ref: str
    pull_secret: int = OPERATORS_CREDENTIAL


@dataclass(frozen=True)
class WantedPull:
    """A pull to be made. `granted_before`: a registry has granted it on this node, last time it was asked."""

    image: WantedImage
    granted_before: bool


def request_pull(
    database: Database, node_id: int, image: WantedImage, job_id: str, attempt: int
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
                *_is_of(node_id, image)
            )
        ).first()
        if row is not None and row.state == "FAILED" and placed_at and row.ended_at >= placed_at:
            return PullFailure(row.reason, row.message)
        connection.execute(
            upsert(ImagePull)
            .values(node_id=node_id, image_ref=image.image_ref, pull_secret=image.pull_secret, state="WANTED")
            .on_conflict_do_update(
                index_elements=[ImagePull.node_id, ImagePull.image_ref, ImagePull.pull_secret],
                # When it was granted last is kept: see `WantedPull`.
                set_={
                    "state": "WANTED",
                    "wanted_at": func.now(),
                    "ended_at": case((_granted(), ImagePull.ended_at), else_=None),
                },
                where=ImagePull.state != "WANTED",
            )
        )
        connection.execute(
            text("SELECT pg_notify(:channel, :node)"), {"channel": WAKE_CHANNEL, "node": str(node_id)}
        )
    return None


_WANTED = (
    select(ImagePull.image_ref, ImagePull.pull_secret, ImagePull.ended_at)
    .where(ImagePull.node_id == bindparam("node"), ImagePull.state == "WANTED")
    .order_by(ImagePull.wanted_at)
)


def wanted_images(database: Database, node_id: int) -> list[WantedPull]:
    """The images that are to be pulled on a node."""
    with database.transaction() as connection:
        rows = connection.execute(_WANTED, {"node": node_id})
        return [
            WantedPull(WantedImage(image_ref, pull_secret), ended_at is not None)
            for image_ref, pull_secret, ended_at in rows
        ]


def record_pull(
    database: Database,
    node_id: int,
    image: WantedImage,
    failure: PullFailure | None,
    *,
    granted: bool = True,
) -> list[StopOrder]:
    """A pull has ended; the launches that waited for it, to be rung for.

    `granted` says that a registry was asked with this credential and did not refuse.
    """
    reason = failure.reason if failure else "" if granted else _UNPROVED
    with database.transaction() as connection:
        connection.execute(
            update(ImagePull)
            .where(*_is_of(node_id, image))
            .values(
                state="READY" if failure is None else "FAILED",
                reason=reason,
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
            .where(*_waits_for(node_id, image))
        )
        return [StopOrder(row[0], row[1], row[2], node_id) for row in rows]


def drop_unwanted(database: Database, node_id: int, image: WantedImage) -> bool:
    """Forget a pull that no job waits for; whether it is forgotten. Whoever asks later begins a new one."""
    with database.transaction() as connection:
        # Whoever asks meanwhile waits for this lock, and then finds the row or writes another.
        connection.execute(select(ImagePull.node_id).where(*_is_of(node_id, image)).with_for_update())
        waits = select(Rank.job_id).join(Job, Job.id == Rank.job_id).where(*_waits_for(node_id, image)).limit(1)
        if connection.execute(waits).first() is not None:
            return False
        connection.execute(delete(ImagePull).where(*_is_of(node_id, image)))
        return True


def jobs_waiting_for(database: Database, node_id: int, image: WantedImage) -> list[str]:
    """The jobs that this pull holds up, for their progress."""
    with database.transaction() as connection:
        rows = connection.execute(
            select(Rank.job_id).distinct().join(Job, Job.id == Rank.job_id).where(*_waits_for(node_id, image))
        )
        return list(rows.scalars())


def record_private(database: Database, repository: str) -> None:
    """From now on nobody gets this repository's images without proof. To be called before one is pulled."""
    with database.transaction() as connection:
        connection.execute(upsert(PrivateRepository).values(repository=repository).on_conflict_do_nothing())


def is_private(database: Database, repository: str) -> bool:
    """Whether images of a repository need proof."""
    with database.transaction() as connection:
        return connection.execute(_IS_PRIVATE, {"repository": repository}).first() is not None


#: As text, because one of the two runs for most launches.
_IS_PRIVATE = text("SELECT 1 FROM private_repositories WHERE repository = :repository")
_LACKS_PROOF = text(
    "SELECT 1 FROM private_repositories WHERE repository = :repository AND NOT EXISTS"
    " (SELECT 1 FROM image_pulls WHERE node_id = :node AND image_ref = :image AND pull_secret = :secret"
    " AND state = 'READY' AND reason = '' AND ended_at > now() - make_interval(secs => :seconds))"
)


def lacks_proof(
    database: Database, node_id: int, image: WantedImage, repository: str, within_seconds: float
) -> bool:
    """Whether an image on the node needs a registry's word that this credential may have it, or a newer one.

    To be asked once the image has been seen on the node: its repository is recorded before it is pulled.
    """
    with database.transaction() as connection:
        found = connection.execute(
            _LACKS_PROOF,
            {
                "repository": repository,
                "node": node_id,
                "image": image.image_ref,
                "secret": image.pull_secret,
                "seconds": within_seconds,
            },
        )
        return found.first() is not None


def _is_of(node_id: int, image: WantedImage) -> tuple[ColumnElement[bool], ...]:
    return (
        ImagePull.node_id == node_id,
        ImagePull.image_ref == image.image_ref,
        ImagePull.pull_secret == image.pull_secret,
    )


def _granted() -> ColumnElement[bool]:
    return and_(ImagePull.state == "READY", ImagePull.reason == "")


def _waits_for(node_id: int, image: WantedImage) -> tuple[ColumnElement[bool], ...]:
    with_the_credential = (
        Job.image_pull_secret == ""
        if image.pull_secret == OPERATORS_CREDENTIAL
        else exists().where(
            Secret.id == image.pull_secret,
            Secret.account_id == Job.account_id,
            Secret.secret_id == Job.image_pull_secret,
        )
    )
    return (
        Rank.node_id == node_id,
        Rank.state == RankState.PLACED.value,
        with_the_credential,
        # By its reference at first; by its digest once that is known (a further node of the gang).
        or_(Job.image_ref == image.image_ref, Job.image_digest == image.image_ref),
    )
