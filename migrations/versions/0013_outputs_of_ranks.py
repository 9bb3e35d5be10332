"""what ranks left in their folders for outputs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KEY = ["job_id", "attempt", "rank"]


def upgrade() -> None:
    op.create_table(
        "rank_outputs",
        *_key_columns(),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("object_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.Integer(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("left_out_count", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("collected_at", _TIME, server_default=sa.text("now()"), nullable=False),
        _goes_with("ranks", "rank_outputs"),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_rank_outputs")),
    )
    op.create_table(
        "output_files",
        *_key_columns(),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Integer(), nullable=False),
        sa.Column("modified_at", _TIME, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        _goes_with("rank_outputs", "output_files"),
        sa.PrimaryKeyConstraint(*_KEY, "path", name=op.f("pk_output_files")),
    )


def downgrade() -> None:
    """What ranks left stays in the object store until its jobs are gone; nothing leads to it any more."""
    op.drop_table("output_files")
    op.drop_table("rank_outputs")


def _key_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
    ]


def _goes_with(owner: str, table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_job_id_attempt_rank")
    return sa.ForeignKeyConstraint(_KEY, [f"{owner}.{column}" for column in _KEY], name=name, ondelete="CASCADE")
