"""What ranks left in their folders for outputs, as it is in the object store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.ranks import goes_with_its_rank
from core.models.row import Row


class RankOutputs(Row):
    """What was collected of one rank; a rank that left nothing has none."""

    __tablename__ = "rank_outputs"
    __table_args__ = (
        goes_with_its_rank(),
        Index(
            "ix_rank_outputs_kept",
            "account_id",
            "collected_at",
            "job_id",
            "attempt",
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(doc="the job's")
    path: Mapped[str] = mapped_column(doc="of its object, a tar; empty = nothing was kept")
    object_bytes: Mapped[int] = mapped_column(BigInteger, doc="that it takes in the object store, or took")
    file_count: Mapped[int] = mapped_column(doc="that are kept")
    byte_count: Mapped[int] = mapped_column(BigInteger, doc="of their contents")
    left_out_count: Mapped[int] = mapped_column(doc="links, devices and the like, which are never kept")
    error: Mapped[str] = mapped_column(server_default=text("''"), doc="why not everything is kept; empty = it is")
    collected_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None] = mapped_column(doc="when its retention was over; null = it is kept")
    removed_because: Mapped[str | None] = mapped_column(doc="for a person")


class OutputFile(Row):
    """One file of a rank's tar."""

    __tablename__ = "output_files"
    __table_args__ = (
        ForeignKeyConstraint(
            ["job_id", "attempt", "rank"],
            ["rank_outputs.job_id", "rank_outputs.attempt", "rank_outputs.rank"],
            ondelete="CASCADE",
        ),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True, doc="below the rank's folder, with slashes between")
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mode: Mapped[int] = mapped_column(doc="the nine bits of permission")
    modified_at: Mapped[datetime]
    offset_bytes: Mapped[int] = mapped_column(BigInteger, doc="where in the tar its content begins")
