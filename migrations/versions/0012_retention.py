"""how long what ended attempts left is kept, how much of it, and what of it has been removed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KEPT = sa.text("removed_at IS NULL")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("retention_days", sa.Integer(), nullable=True))
    op.add_column("accounts", sa.Column("retention_bytes", sa.BigInteger(), nullable=True))
    for table in ("packed_attempts", "notebooks"):
        op.add_column(table, sa.Column("removed_at", _TIME, nullable=True))
        op.add_column(table, sa.Column("removed_because", sa.Text(), nullable=True))
    op.create_index(
        "ix_packed_attempts_kept",
        "packed_attempts",
        ["account_id", "ended_at", "job_id", "attempt"],
        postgresql_where=_KEPT,
    )
    _upgrade_kept_bytes()
    _upgrade_notebooks()


def _upgrade_kept_bytes() -> None:
    op.create_table(
        "kept_bytes",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("object_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "shard", name=op.f("pk_kept_bytes")),
    )
    # Room in each page, so that an update need not move the row.
    op.execute("ALTER TABLE kept_bytes SET (fillfactor = 50)")
    op.execute("INSERT INTO kept_bytes SELECT account_id, 0, sum(object_bytes) FROM packed_attempts GROUP BY 1")
    # For every table with these three columns.
    op.execute(
        """
        CREATE FUNCTION count_kept_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            was bigint := CASE WHEN TG_OP <> 'INSERT' AND OLD.removed_at IS NULL THEN OLD.object_bytes ELSE 0 END;
            is_now bigint := CASE WHEN TG_OP <> 'DELETE' AND NEW.removed_at IS NULL THEN NEW.object_bytes ELSE 0 END;
            account text := CASE TG_OP WHEN 'DELETE' THEN OLD.account_id ELSE NEW.account_id END;
        BEGIN
            IF is_now <> was THEN
                INSERT INTO kept_bytes AS k VALUES (account, pg_backend_pid() % 64, is_now - was)
                ON CONFLICT (account_id, shard) DO UPDATE SET object_bytes = k.object_bytes + EXCLUDED.object_bytes;
            END IF;
            RETURN NULL;
        END $$
        """
    )
    # At commit, when every other lock is held already, as the counts of jobs are.
    op.execute(
        "CREATE CONSTRAINT TRIGGER packed_attempts_counted AFTER INSERT OR UPDATE OF removed_at, object_bytes OR DELETE"
        " ON packed_attempts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_kept_bytes()"
    )


def _upgrade_notebooks() -> None:
    op.add_column("notebooks", sa.Column("account_id", sa.Text(), nullable=True))
    op.add_column("notebooks", sa.Column("kept_at", _TIME, server_default=sa.text("now()"), nullable=False))
    op.execute(
        "UPDATE notebooks n SET account_id = j.account_id, kept_at = coalesce(r.ended_at, now())"
        " FROM jobs j, ranks r WHERE j.id = n.job_id"
        " AND r.job_id = n.job_id AND r.attempt = n.attempt AND r.rank = n.rank"
    )
    op.alter_column("notebooks", "account_id", nullable=False)
    op.alter_column("notebooks", "content", nullable=True)
    op.create_index("ix_notebooks_kept", "notebooks", ["account_id", "kept_at"], postgresql_where=_KEPT)


def downgrade() -> None:
    """Attempts whose output has been removed read afterwards as if they had printed nothing."""
    op.drop_index("ix_notebooks_kept", "notebooks")
    op.execute("DELETE FROM notebooks WHERE content IS NULL")
    op.alter_column("notebooks", "content", nullable=False)
    op.execute("DROP TRIGGER packed_attempts_counted ON packed_attempts")
    op.execute("DROP FUNCTION count_kept_bytes()")
    op.drop_table("kept_bytes")
    op.drop_index("ix_packed_attempts_kept", "packed_attempts")
    for name in ("account_id", "kept_at", "removed_at", "removed_because"):
        op.drop_column("notebooks", name)
    for table, names in (
        ("packed_attempts", ("removed_at", "removed_because")),
        ("accounts", ("retention_days", "retention_bytes")),
    ):
        for name in names:
            op.drop_column(table, name)
