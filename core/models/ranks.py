"""A job's ranks, what happened to them, their networks, and what they left."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from core.models.row import Row, state_names
from core.states import RankState


class Rank(Row):
    """One container that is to be, is, or was. A row with a node and no `released_at` holds a slot."""

    __tablename__ = "ranks"
    __table_args__ = (
        CheckConstraint(f"state IN ({state_names(RankState)})", name="state"),
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


def goes_with_its_rank() -> ForeignKeyConstraint:
    """The foreign key of a table whose rows belong to a rank."""
    key = ("job_id", "attempt", "rank")
    return ForeignKeyConstraint(key, [f"ranks.{column}" for column in key], ondelete="CASCADE")


class LogChunk(Row):
    """A run of one rank's output, compressed. `resume_*` is where capture goes on after it."""

    __tablename__ = "log_chunks"
    __table_args__ = (goes_with_its_rank(),)

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
        goes_with_its_rank(),
        Index("ix_notebooks_kept", "account_id", "kept_at", postgresql_where=text("removed_at IS NULL")),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(doc="the job's")
    content: Mapped[bytes | None] = mapped_column(
        LargeBinary, doc="zlib-compressed .ipynb; null = it has been removed"
    )
    kept_at: Mapped[datetime] = mapped_column(server_default=func.now(), doc="when it was last written")
    removed_at: Mapped[datetime | None] = mapped_column(doc="as in packed_attempts")
    removed_because: Mapped[str | None]


class RankUsage(Row):
    """What one rank has used so far, and the newest points of its series.

    Most of its series is in `UsagePart`. Written anew with every few samples, so it is kept small: what is in it
    has room in the row itself.
    """

    __tablename__ = "rank_usage"
    __table_args__ = (goes_with_its_rank(),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    first_at: Mapped[datetime] = mapped_column(doc="of the first sample, by the engine's clock")
    last_at: Mapped[datetime]
    cpu_seconds: Mapped[float] = mapped_column(Double, doc="since its container's start, as all that counts up")
    memory_bytes: Mapped[int] = mapped_column(BigInteger, doc="by the last sample")
    peak_memory_bytes: Mapped[int] = mapped_column(BigInteger, doc="the most of any sample")
    memory_limit_bytes: Mapped[int] = mapped_column(BigInteger)
    network_rx_bytes: Mapped[int] = mapped_column(BigInteger)
    network_tx_bytes: Mapped[int] = mapped_column(BigInteger)
    block_read_bytes: Mapped[int] = mapped_column(BigInteger)
    block_write_bytes: Mapped[int] = mapped_column(BigInteger)
    has_network: Mapped[bool] = mapped_column(doc="it has a network of its own, so that its bytes are counted")
    step_ms: Mapped[int] = mapped_column(BigInteger, doc="points are merged to this; 0 = every sample is a point")
    next_part: Mapped[int]
    recent: Mapped[bytes] = mapped_column(LargeBinary, doc="points after the last part (core.usage.series, plain)")


class UsagePart(Row):
    """A run of points of one rank's series that is full."""

    __tablename__ = "usage_parts"
    __table_args__ = (goes_with_its_rank(),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    points: Mapped[bytes] = mapped_column(LargeBinary, doc="core.usage.series, sealed")
