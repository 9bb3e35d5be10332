"""what became of jobs, counted for good: how long they waited, and how they ended"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_marks",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("seconds", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_marks")),
    )
    op.create_table(
        "job_tallies",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_most_seconds", sa.Double(), nullable=False),
        sa.Column("moves", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "reason", "at_most_seconds", name=op.f("pk_job_tallies")),
    )
    # A row of its own for each move: a counter that transactions share would make them wait for each other.
    op.execute(
        """
        CREATE FUNCTION mark_job() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.state = 'PENDING' THEN
                INSERT INTO job_marks (kind, seconds) VALUES ('scheduled',
                    extract(epoch FROM clock_timestamp() - greatest(NEW.created_at, NEW.not_before_at)));
            ELSIF NEW.state = 'RUNNING' THEN
                INSERT INTO job_marks (kind, seconds) SELECT 'dispatched',
                    extract(epoch FROM clock_timestamp() - placed_at) FROM ranks
                    WHERE job_id = NEW.id AND attempt = NEW.attempt AND rank = 0 AND placed_at IS NOT NULL;
            ELSE
                INSERT INTO job_marks (kind, reason) VALUES (NEW.state, NEW.reason);
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER jobs_marked AFTER UPDATE OF state ON jobs FOR EACH ROW"
        " WHEN (OLD.state IS DISTINCT FROM NEW.state"
        " AND NEW.state IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'))"
        " EXECUTE FUNCTION mark_job()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER jobs_marked ON jobs")
    op.execute("DROP FUNCTION mark_job()")
    op.drop_table("job_tallies")
    op.drop_table("job_marks")
