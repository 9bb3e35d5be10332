"""Jobs, how many there are in each state, and the keys under which they were made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from core.models.row import Row, state_names
from core.states import JobState


class Job(Row):
    """One batch job. Its moves are the verbs of `core.jobs`; nothing else assigns to its state."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({state_names(JobState)})", name="state"),
        UniqueConstraint("account_id", "batch_job_id"),
        Index("ix_jobs_account_id_created_at", "account_id", text("created_at DESC"), text("id DESC")),
        # The head of each account's queue, without reading the rest of it.
        Index(
            "ix_jobs_queue",
            "pool_id",
            "account_id",
            text("priority DESC"),
            "created_at",
            "id",
            postgresql_where=text("state = 'QUEUED'"),
        ),
        # What each account holds in a pool.
        Index(
            "ix_jobs_holding",
            "pool_id",
            "account_id",
            postgresql_include=["num_ranks"],
            postgresql_where=text("state IN ('PENDING', 'RUNNING', 'CANCELLING', 'DELETING')"),
        ),
        # The last runs in a pool: how long jobs take.
        Index(
            "ix_jobs_completed",
            "pool_id",
            text("ended_at DESC"),
            postgresql_where=text("state = 'COMPLETED'"),
        ),
        Index(
            "ix_jobs_unfinished",
            "state",
            postgresql_where=text("state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"),
        ),
        Index("ix_jobs_deadline_at", "deadline_at", postgresql_where=text("deadline_at IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, doc="random, unique over all accounts; never on the wire")
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    batch_job_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    created_by: Mapped[str]
    display_name: Mapped[str]
    shared: Mapped[bool]
    num_ranks: Mapped[int]
    image_ref: Mapped[str]
    image_pull_secret: Mapped[str] = mapped_column(server_default="", doc="the secret_id that its image needs")
    spec: Mapped[dict[str, Any]] = mapped_column(doc="core.spec.JobSpec as JSON")
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="", doc="machine's code beside the status")
    status: Mapped[str] = mapped_column(server_default="", doc="one sentence for a person")
    attempt: Mapped[int] = mapped_column(server_default="1", doc="the fencing token of every guarded update")
    image_digest: Mapped[str] = mapped_column(server_default="", doc="what every rank and attempt runs")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    stop_requested_at: Mapped[datetime | None] = mapped_column(doc="since when its ranks are being stopped")
    delete_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    deadline_at: Mapped[datetime | None] = mapped_column(
        doc="when the clock of its state runs out: timeouts.queue, .pull, .run, or ttlAfterFinished"
    )
    not_before_at: Mapped[datetime | None] = mapped_column(doc="while QUEUED: it is not placed before this")
    uncharged_attempts: Mapped[int] = mapped_column(
        server_default="0", doc="how many of its earlier attempts the platform failed before they ran"
    )
    # What placement needs of the specification, which may be large. Postgres keeps these in step with it.
    priority: Mapped[int] = mapped_column(Computed("coalesce((spec ->> 'priority')::integer, 0)", persisted=True))
    cpu_milli: Mapped[int | None] = mapped_column(
        Computed("(spec ->> 'cpu_milli')::integer", persisted=True), doc="of one rank, as asked for"
    )
    memory_bytes: Mapped[int | None] = mapped_column(
        BigInteger, Computed("(spec ->> 'memory_bytes')::bigint", persisted=True), doc="of one rank, as asked for"
    )
    node_labels: Mapped[dict[str, Any]] = mapped_column(
        Computed("coalesce(spec -> 'node_labels', '{}'::jsonb)", persisted=True)
    )
    run_timeout_seconds: Mapped[float | None] = mapped_column(
        Float, Computed("(spec ->> 'run_timeout_seconds')::double precision", persisted=True)
    )
    avoided_nodes: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger), server_default=text("'{}'::bigint[]"), doc="nodes.id; they failed it before it ran"
    )
    queue_position: Mapped[int | None] = mapped_column(
        Integer, doc="while QUEUED: exact to ten, then rounded; null = not known, or it waits for no turn"
    )
    estimated_start_at: Mapped[datetime | None] = mapped_column(doc="while QUEUED: rounded; null = not known")


class JobFile(Row):
    """A file that came with a job, which each of its containers finds in its working directory."""

    __tablename__ = "job_files"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, doc="a relative path")
    content: Mapped[bytes] = mapped_column(LargeBinary, doc="zlib-compressed")


class JobCount(Row):
    """How many jobs an account has, and how many of them are live, in shards that are to be summed.

    Kept by a trigger of the jobs table: counting a million rows for every list would cost more than the list.
    """

    __tablename__ = "job_counts"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True)
    jobs: Mapped[int] = mapped_column(BigInteger)
    live_jobs: Mapped[int] = mapped_column(BigInteger)
    live_ranks: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKey(Row):
    """A creation that a client named, so that asking again gives the same job. It outlives the job."""

    __tablename__ = "idempotency_keys"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[bytes] = mapped_column(LargeBinary, doc="of everything that was asked for")
    job_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
