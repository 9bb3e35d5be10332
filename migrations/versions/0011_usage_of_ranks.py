"""what ranks used: a summary and the newest points of each, and its earlier points"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_KEY = ("job_id", "attempt", "rank")
_COUNTERS = (
    "memory_bytes",
    "peak_memory_bytes",
    "memory_limit_bytes",
    "network_rx_bytes",
    "network_tx_bytes",
    "block_read_bytes",
    "block_write_bytes",
)


def upgrade() -> None:
    op.create_table(
        "rank_usage",
        *_key_columns(),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTERS),
        sa.Column("has_network", sa.Boolean(), nullable=False),
        sa.Column("step_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_part", sa.Integer(), nullable=False),
        sa.Column("recent", sa.LargeBinary(), nullable=False),
        _goes_with_its_rank("rank_usage"),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_rank_usage")),
    )
    op.create_table(
        "usage_parts",
        *_key_columns(),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        _goes_with_its_rank("usage_parts"),
        sa.PrimaryKeyConstraint(*_KEY, "part", name=op.f("pk_usage_parts")),
    )


def downgrade() -> None:
    op.drop_table("usage_parts")
    op.drop_table("rank_usage")


def _key_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
    ]


def _goes_with_its_rank(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        _KEY, [f"ranks.{name}" for name in _KEY], name=op.f(f"fk_{table}_job_id_attempt_rank"), ondelete="CASCADE"
    )
