"""what attempts need: clocks, back-off, uncharged attempts, and who ended a rank and when that was known"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JOB_TIMES = ("deadline_at", "not_before_at")
_RANK_TIMES = ("termination_at", "killed_at", "recorded_at")


def upgrade() -> None:
    for name in _JOB_TIMES:
        op.add_column("jobs", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("uncharged_attempts", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_jobs_deadline_at", "jobs", ["deadline_at"], postgresql_where=sa.text("deadline_at IS NOT NULL")
    )
    for name in _RANK_TIMES:
        op.add_column("ranks", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("ranks", sa.Column("last_lines", sa.Text(), server_default="", nullable=False))
    # What is being stopped while this runs was told to.
    op.execute("UPDATE ranks SET termination_at = signalled_at WHERE released_at IS NULL")


def downgrade() -> None:
    for name in ("last_lines", *_RANK_TIMES):
        op.drop_column("ranks", name)
    op.drop_index("ix_jobs_deadline_at", "jobs")
    for name in ("uncharged_attempts", *_JOB_TIMES):
        op.drop_column("jobs", name)
