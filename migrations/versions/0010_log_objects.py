"""output of ended attempts in the object store"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "packed_attempts",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("ended_at", _TIME, nullable=False),
        sa.Column("packed_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("object_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_packed_attempts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", name=op.f("pk_packed_attempts")),
    )
    key = ["job_id", "attempt", "rank"]
    op.create_table(
        "log_objects",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("block_index", sa.LargeBinary(), nullable=False),
        sa.Column("object_bytes", sa.BigInteger(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("resume_ns", sa.BigInteger(), nullable=False),
        sa.Column("resume_skip", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            key,
            [f"ranks.{column}" for column in key],
            name=op.f("fk_log_objects_job_id_attempt_rank"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_log_objects")),
    )
    op.create_table(
        "doomed_objects",
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("doomed_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("folder", name=op.f("pk_doomed_objects")),
    )
    op.create_index(op.f("ix_doomed_objects_doomed_at"), "doomed_objects", ["doomed_at"])


def downgrade() -> None:
    """What has been packed is in the object store alone, where an earlier version does not look for it."""
    op.drop_table("doomed_objects")
    op.drop_table("log_objects")
    op.drop_table("packed_attempts")
