"""The rows. Their shape only: what moves them is in the file named after the noun (`core.jobs`, ...).

Portable to Postgres 15 and later, with no contrib extension, no ICU collation and no `uuidv7()`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.states import JobState, RankState

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Row(DeclarativeBase):
    """The declarative root; times are always with a zone, strings are always `text`."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a plain class attribute
        datetime: DateTime(timezone=True),
        str: Text(),
        dict[str, Any]: JSONB(),
    }


def _names(states: type[JobState] | type[RankState]) -> str:
    return ", ".join(f"'{state.value}'" for state in states)


class Account(Row):
    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(Row):
    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("account_id", "email"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    email: Mapped[str]
    role: Mapped[str] = mapped_column(doc="admin or user")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Row):
    """Only the SHA-256 of the secret is kept; `id` is the part of the key that finds the row."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class NodePool(Row):
    __tablename__ = "node_pools"
    __table_args__ = (UniqueConstraint("account_id", "pool_id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    pool_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    display_name: Mapped[str] = mapped_column(server_default="")
    default_image_ref: Mapped[str | None]
    ranks_per_node: Mapped[int] = mapped_column(
        server_default="0", doc="0 = the larger of 8 and twice the node's CPUs"
    )
    cpu_limit: Mapped[float] = mapped_column(Float, server_default="1", doc="CPUs of one rank")
    memory_limit_bytes: Mapped[int | None] = mapped_column(
        BigInteger, doc="of one rank; null = the node's memory, less a tenth, divided by its slots"
    )
    pids_limit: Mapped[int] = mapped_column(server_default="4096", doc="processes and threads of one rank")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Node(Row):
    """One Docker engine. The supervisor that watches it holds it by a lease on the database's clock."""

    __tablename__ = "nodes"
    __table_args__ = (UniqueConstraint("pool_id", "name"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    name: Mapped[str]
    endpoint: Mapped[str] = mapped_column(doc="unix:///path, tcp://host:port or ssh://host")
    worker_group: Mapped[str] = mapped_column(doc="the workers and the supervisor that can reach the engine")
    slots: Mapped[int] = mapped_column(doc="ranks that may run on it at the same time")
    cpu_count: Mapped[int]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(server_default="READY", doc="READY, DRAINING or DOWN")
    state_detail: Mapped[str] = mapped_column(server_default="")
    state_since: Mapped[datetime] = mapped_column(server_default=func.now())
    engine_version: Mapped[str] = mapped_column(server_default="")
    seen_at: Mapped[datetime | None] = mapped_column(doc="when the engine last answered its supervisor")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]


class Job(Row):
    """One batch job. Its moves are the verbs of `core.jobs`; nothing else assigns to its state."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({_names(JobState)})", name="state"),
        Index("ix_jobs_account_id_created_at", "account_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_jobs_queue",
            "pool_id",
            "created_at",
            "id",
            postgresql_where=text("state = 'QUEUED'"),
        ),
        Index(
            "ix_jobs_unfinished",
            "state",
            postgresql_where=text("state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, doc="random, unique over all accounts")
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    created_by: Mapped[str]
    display_name: Mapped[str]
    shared: Mapped[bool]
    num_ranks: Mapped[int]
    image_ref: Mapped[str]
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


class Rank(Row):
    """One container that is to be, is, or was. A row with a node and no `released_at` holds a slot."""

    __tablename__ = "ranks"
    __table_args__ = (
        CheckConstraint(f"state IN ({_names(RankState)})", name="state"),
        Index(
            "ix_ranks_holding",
            "node_id",
            postgresql_where=text("node_id IS NOT NULL AND released_at IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    node_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id"))
    container_id: Mapped[str | None]
    lease_until: Mapped[datetime | None] = mapped_column(doc="of the launch or start step that holds it")
    placed_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    signalled_at: Mapped[datetime | None] = mapped_column(doc="when the platform sent it SIGTERM")
    released_at: Mapped[datetime | None] = mapped_column(doc="when its container was gone and its slot free")
    exit_code: Mapped[int | None]
    oom_killed: Mapped[bool] = mapped_column(server_default=text("false"))
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="", doc="the last line it printed, or the fault")
    log_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class JobEvent(Row):
    """The job's history: one row per move, written in the move's own transaction."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    rank: Mapped[int | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="")


class GangNetwork(Row):
    """The block of our address range that one attempt's network holds until the network is gone.

    It outlives the job's row: a job may be deleted before the engine has taken its network down.
    """

    __tablename__ = "gang_networks"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    subnet: Mapped[str] = mapped_column(unique=True, doc="CIDR")


class ImagePull(Row):
    """One image wanted on one node: a single row, so a single pull, however many jobs wait for it."""

    __tablename__ = "image_pulls"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    image_ref: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(doc="WANTED, READY or FAILED")
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="")
    wanted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class LogChunk(Row):
    """A run of one rank's output, compressed. `resume_*` is where capture goes on after it."""

    __tablename__ = "log_chunks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["job_id", "attempt", "rank"],
            ["ranks.job_id", "ranks.attempt", "ranks.rank"],
            ondelete="CASCADE",
        ),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    first_ns: Mapped[int] = mapped_column(BigInteger, doc="log time of its first record, ns since the epoch")
    last_ns: Mapped[int] = mapped_column(BigInteger)
    record_count: Mapped[int]
    byte_count: Mapped[int] = mapped_column(BigInteger, doc="of the output itself, before compression")
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    resume_ns: Mapped[int] = mapped_column(BigInteger, doc="the engine's time stamp of the last frame stored")
    resume_skip: Mapped[int] = mapped_column(doc="how many frames of that time stamp are stored")


class Notebook(Row):
    """The executed notebook of one rank, as papermill left it."""

    __tablename__ = "notebooks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["job_id", "attempt", "rank"],
            ["ranks.job_id", "ranks.attempt", "ranks.rank"],
            ondelete="CASCADE",
        ),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary, doc="zlib-compressed .ipynb")
