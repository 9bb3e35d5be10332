"""what placement counts: labels, needs, priority, GPUs, avoided nodes, place in the queue"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'QUEUED'")
#: Kept by Postgres from the specification, so that a pass reads no specification.
_OF_SPEC: tuple[tuple[str, Any, str, bool], ...] = (
    ("priority", sa.Integer(), "coalesce((spec ->> 'priority')::integer, 0)", False),
    ("cpu_milli", sa.Integer(), "(spec ->> 'cpu_milli')::integer", True),
    ("memory_bytes", sa.BigInteger(), "(spec ->> 'memory_bytes')::bigint", True),
    ("node_labels", postgresql.JSONB(), "coalesce(spec -> 'node_labels', '{}'::jsonb)", False),
    ("run_timeout_seconds", sa.Float(), "(spec ->> 'run_timeout_seconds')::double precision", True),
)


def upgrade() -> None:
    op.add_column(
        "nodes", sa.Column("labels", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False)
    )
    for name, kind, expression, nullable in _OF_SPEC:
        op.add_column("jobs", sa.Column(name, kind, sa.Computed(expression, persisted=True), nullable=nullable))
    op.add_column(
        "jobs",
        sa.Column(
            "avoided_nodes",
            postgresql.ARRAY(sa.BigInteger()),
            server_default=sa.text("'{}'::bigint[]"),
            nullable=False,
        ),
    )
    op.add_column("jobs", sa.Column("queue_position", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("estimated_start_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index(
        "ix_jobs_queue",
        "jobs",
        ["pool_id", "account_id", sa.text("priority DESC"), "created_at", "id"],
        postgresql_where=_QUEUED,
    )
    op.create_index(
        "ix_jobs_holding",
        "jobs",
        ["pool_id", "account_id"],
        postgresql_include=["num_ranks"],
        postgresql_where=sa.text("state IN ('PENDING', 'RUNNING', 'CANCELLING', 'DELETING')"),
    )
    op.create_index(
        "ix_jobs_completed",
        "jobs",
        ["pool_id", sa.text("ended_at DESC")],
        postgresql_where=sa.text("state = 'COMPLETED'"),
    )
    op.add_column("ranks", sa.Column("cpu_milli", sa.Integer(), nullable=True))
    op.add_column("ranks", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    op.add_column("ranks", sa.Column("gpu", sa.Integer(), nullable=True))
    op.create_index(
        "uq_ranks_node_id_gpu",
        "ranks",
        ["node_id", "gpu"],
        unique=True,
        postgresql_where=sa.text("gpu IS NOT NULL AND released_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_ranks_node_id_gpu", "ranks")
    for name in ("cpu_milli", "memory_bytes", "gpu"):
        op.drop_column("ranks", name)
    op.drop_index("ix_jobs_completed", "jobs")
    op.drop_index("ix_jobs_holding", "jobs")
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["pool_id", "created_at", "id"], postgresql_where=_QUEUED)
    for name in ("avoided_nodes", "queue_position", "estimated_start_at", *(column for column, *_ in _OF_SPEC)):
        op.drop_column("jobs", name)
    op.drop_column("nodes", "labels")
