"""What became of jobs, counted for good: it outlives the jobs themselves."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double
from sqlalchemy.orm import Mapped, mapped_column

from core.models.row import Row


class JobMark(Row):
    """One move of one job that is not counted yet. Written by a trigger of the jobs table, in the move's own
    transaction, and taken away when it is counted (`core.tallies`)."""

    __tablename__ = "job_marks"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(doc="scheduled, dispatched, or the state in which it ended")
    reason: Mapped[str] = mapped_column(server_default="", doc="of an end")
    seconds: Mapped[float] = mapped_column(
        Double, server_default="0", doc="scheduled: since its turn could come; dispatched: since it was placed"
    )


class JobTally(Row):
    """How many moves of a kind there were. It only grows."""

    __tablename__ = "job_tallies"

    kind: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    at_most_seconds: Mapped[float] = mapped_column(
        Double, primary_key=True, doc="the upper bound of the bucket that is counted; infinity = longer than any"
    )
    moves: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double, doc="of all of them together")
