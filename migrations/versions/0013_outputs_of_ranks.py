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
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("object_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.Integer(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("left_out_count", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("collected_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", _TIME, nullable=True),
        sa.Column("removed_because", sa.Text(), nullable=True),
        _goes_with("ranks", "rank_outputs"),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_rank_outputs")),
    )
    op.create_index(
        "ix_rank_outputs_kept",
        "rank_outputs",
        ["account_id", "collected_at", "job_id", "attempt"],
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER rank_outputs_counted AFTER INSERT OR UPDATE OF removed_at, object_bytes OR DELETE"
        " ON rank_outputs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_kept_bytes()"
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
