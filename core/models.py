"""The rows. Their shape only: what moves them is in the file named after the noun (`core.jobs`, ...).

Portable to Postgres 15 and later, with no contrib extension, no ICU collation and no `uuidv7()`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
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
    display_name: Mapped[str] = mapped_column(server_default="")
    email: Mapped[str] = mapped_column(server_default="", doc="whom to write to")
    is_operator: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="its admins manage accounts and may offer pools to all"
    )
    may_own_nodes: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="its admins may name engines, which is root-like power over a host"
    )
    max_live_jobs: Mapped[int | None] = mapped_column(doc="null = the platform's setting")
    max_live_ranks: Mapped[int | None] = mapped_column(doc="null = the platform's setting")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(Row):
    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("account_id", "email"),
        UniqueConstraint("account_id", "user_id"),
        CheckConstraint("role IN ('admin', 'user')", name="role"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    user_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    email: Mapped[str]
    display_name: Mapped[str] = mapped_column(server_default="")
    role: Mapped[str] = mapped_column(doc="admin or user")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Row):
    """Only the SHA-256 of the secret is kept; `id` is the part of the key that finds the row."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    display_name: Mapped[str] = mapped_column(server_default="")
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None] = mapped_column(doc="to the minute")
    revoked_at: Mapped[datetime | None]


class Secret(Row):
    """A value that only ranks and registries get to see. Sealed with a key that is not in the database."""

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("account_id", "secret_id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    secret_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    key_name: Mapped[str] = mapped_column(doc="what the value is, in its owner's words")
    created_by: Mapped[str]
    sealing_key: Mapped[str] = mapped_column(doc="the id of the key that sealed it")
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class NodePool(Row):
    """A deleted pool stays, marked, for the jobs that ran in it."""

    __tablename__ = "node_pools"
    __table_args__ = (
        Index(
            "uq_node_pools_account_id_pool_id",
            "account_id",
            "pool_id",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

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
    shm_bytes: Mapped[int | None] = mapped_column(BigInteger, doc="of /dev/shm; null = the engine's default")
    min_node_count: Mapped[int] = mapped_column(server_default="0")
    max_node_count: Mapped[int] = mapped_column(server_default="0")
    overprovision_node_count: Mapped[int] = mapped_column(server_default="0")
    annotations: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    labels: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    network: Mapped[str] = mapped_column(server_default="")
    node_role: Mapped[str] = mapped_column(server_default="")
    offered_to_all: Mapped[bool] = mapped_column(server_default=text("false"), doc="every account may use it")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class NodePoolBinding(Row):
    """Who may use a pool: one user by e-mail, or every user of `accounts/<id>`. None at all = everyone."""

    __tablename__ = "node_pool_bindings"

    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RoleBinding(Row):
    """Who may assume a role."""

    __tablename__ = "role_bindings"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Node(Row):
    """One Docker engine. The supervisor that watches it holds it by a lease on the database's clock.

    A deleted node stays, marked, for the ranks that ran on it.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        Index(
            "uq_nodes_pool_id_name", "pool_id", "name", unique=True, postgresql_where=text("deleted_at IS NULL")
        ),
        # One engine in two pools would be given out twice.
        Index(
            "uq_nodes_endpoint_worker_group",
            "endpoint",
            "worker_group",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    name: Mapped[str]
    endpoint: Mapped[str] = mapped_column(doc="unix:///path, tcp://host:port or ssh://host")
    worker_group: Mapped[str] = mapped_column(doc="the workers and the supervisor that can reach the engine")
    slots: Mapped[int] = mapped_column(doc="ranks that may run on it at the same time")
    wanted_slots: Mapped[int] = mapped_column(server_default="0", doc="what was asked for; 0 = by the pool's rule")
    cpu_count: Mapped[int]
    gpu_count: Mapped[int] = mapped_column(server_default="0")
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    free_disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    free_inodes: Mapped[int | None] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(
        server_default="", doc="by which the pool's other hosts reach it; empty = as its endpoint says"
    )
    swarm_role: Mapped[str] = mapped_column(server_default="", doc="manager, worker, or empty: in no swarm")
    withheld: Mapped[str] = mapped_column(
        server_default="",
        doc="why nothing new is placed on it although its engine answers; empty = it takes ranks",
    )
    labels: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'::jsonb"),
        doc="what it is, over the pool's labels, for jobs that name what they need",
    )
    drain_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(server_default="READY", doc="READY, DRAINING or DOWN")
    state_detail: Mapped[str] = mapped_column(server_default="")
    state_since: Mapped[datetime] = mapped_column(server_default=func.now())
    engine_version: Mapped[str] = mapped_column(server_default="")
    seen_at: Mapped[datetime | None] = mapped_column(doc="when the engine last answered its supervisor")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class Job(Row):
    """One batch job. Its moves are the verbs of `core.jobs`; nothing else assigns to its state."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({_names(JobState)})", name="state"),
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
        Index(
            "uq_ranks_node_id_gpu",
            "node_id",
            "gpu",
            unique=True,
            postgresql_where=text("gpu IS NOT NULL AND released_at IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    node_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id"))
    container_id: Mapped[str | None]
    cpu_milli: Mapped[int | None] = mapped_column(doc="that it holds of its node; null = one slot's share")
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger, doc="likewise")
    gpu: Mapped[int | None] = mapped_column(doc="which GPU of its node it has, from 0; null = none")
    lease_until: Mapped[datetime | None] = mapped_column(doc="of the launch or start step that holds it")
    placed_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    termination_at: Mapped[datetime | None] = mapped_column(doc="when the platform set about sending it SIGTERM")
    signalled_at: Mapped[datetime | None] = mapped_column(doc="when the platform sent it SIGTERM")
    killed_at: Mapped[datetime | None] = mapped_column(doc="when the platform set about sending it SIGKILL")
    recorded_at: Mapped[datetime | None] = mapped_column(
        doc="when its end was written down; in one job by one clock, and in order"
    )
    released_at: Mapped[datetime | None] = mapped_column(doc="when its container was gone and its slot free")
    exit_code: Mapped[int | None]
    signal: Mapped[int | None] = mapped_column(SmallInteger, doc="that ended it; 0 = none did; null = not known")
    oom_killed: Mapped[bool] = mapped_column(server_default=text("false"))
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="", doc="the last line it printed, or the fault")
    last_lines: Mapped[str] = mapped_column(server_default="", doc="of a rank that failed: what it printed last")
    log_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class JobEvent(Row):
    """The job's history: one row per move, written in the move's own transaction."""

    __tablename__ = "job_events"
    __table_args__ = (
        # A big gang has many events of its ranks and few of its own.
        Index("ix_job_events_of_job", "job_id", "id", postgresql_where=text("rank IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    rank: Mapped[int | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="")


class GangNetwork(Row):
    """The network of one attempt's ranks, and the block of our address range that it holds until it is gone.

    It outlives the job's row: a job may be deleted before the engine has taken its network down.
    """

    __tablename__ = "gang_networks"
    __table_args__ = (
        CheckConstraint("(subnet IS NULL) = (driver = 'host')", name="subnet"),
        Index("ix_gang_networks_nodes", "nodes", postgresql_using="gin"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    subnet: Mapped[str | None] = mapped_column(
        unique=True, doc="CIDR; null = on the hosts' own network, which needs none"
    )
    driver: Mapped[str] = mapped_column(server_default="bridge", doc="bridge, overlay or host")
    nodes: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger),
        server_default=text("'{}'::bigint[]"),
        doc="nodes.id whose engines may have it; written before it is made there, taken out when it is gone",
    )
    is_ready: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="of an overlay: a manager of the swarm has it"
    )


class ImagePull(Row):
    """One image wanted on one node with one credential: a single row, so a single pull, whoever waits for it.

    READY is also the proof that the credential may have the image, for as long as it is fresh.
    """

    __tablename__ = "image_pulls"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    image_ref: Mapped[str] = mapped_column(primary_key=True)
    pull_secret: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, server_default="0", doc="secrets.id, or 0 for the operator's credentials"
    )
    state: Mapped[str] = mapped_column(doc="WANTED, READY or FAILED")
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="")
    wanted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class PrivateRepository(Row):
    """A repository whose images were pulled with an account's own secret: nobody has them without proof."""

    __tablename__ = "private_repositories"

    repository: Mapped[str] = mapped_column(primary_key=True)
    first_at: Mapped[datetime] = mapped_column(server_default=func.now())


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
    byte_count: Mapped[int] = mapped_column(BigInteger, doc="of what the rank printed, before compression")
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    resume_ns: Mapped[int] = mapped_column(
        BigInteger, doc="the engine's time stamp from which it is asked to go on"
    )
    resume_skip: Mapped[int] = mapped_column(doc="how many of the frames that it then gives are stored")


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
