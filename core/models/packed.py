"""What of ended attempts' output is in the object store, and what is to go from there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.ranks import goes_with_its_rank
from core.models.row import Row


class PackedAttempt(Row):
    """An attempt whose output is in objects, all of it: a chunk that is still in a row counts no more.

    Once it has been removed there are no objects, and this row says so.
    """

    __tablename__ = "packed_attempts"
    __table_args__ = (
        Index(
            "ix_packed_attempts_kept",
            "account_id",
            "ended_at",
            "job_id",
            "attempt",
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(doc="the job's")
    ended_at: Mapped[datetime] = mapped_column(doc="when its last container was gone")
    packed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    object_bytes: Mapped[int] = mapped_column(BigInteger, doc="that it takes in the object store, or took")
    removed_at: Mapped[datetime | None] = mapped_column(doc="when its retention was over; null = it is kept")
    removed_because: Mapped[str | None] = mapped_column(doc="for a person")


class KeptBytes(Row):
    """How much of an account is in the object store and has not been removed, in shards that are to be summed.

    Kept by a trigger of the tables that know of objects (`count_kept_bytes`), as the counts of jobs are.
    """

    __tablename__ = "kept_bytes"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True)
    object_bytes: Mapped[int] = mapped_column(BigInteger)


class LogObject(Row):
    """The output of one rank of a packed attempt; ranks that printed nothing have none."""

    __tablename__ = "log_objects"
    __table_args__ = (goes_with_its_rank(),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    block_index: Mapped[bytes] = mapped_column(LargeBinary, doc="core.log_packing: where what is in the object")
    object_bytes: Mapped[int] = mapped_column(BigInteger)
    byte_count: Mapped[int] = mapped_column(BigInteger, doc="of what the rank printed, before compression")
    last_seq: Mapped[int] = mapped_column(doc="of the chunks that were packed; this and the rest as in log_chunks")
    last_ns: Mapped[int] = mapped_column(BigInteger)
    resume_ns: Mapped[int] = mapped_column(BigInteger)
    resume_skip: Mapped[int]


class DoomedObjects(Row):
    """Objects that are to be removed: ordered in the transaction after which nothing leads to them any more."""

    __tablename__ = "doomed_objects"

    folder: Mapped[str] = mapped_column(primary_key=True, doc="the path that they are below, with its last slash")
    doomed_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
