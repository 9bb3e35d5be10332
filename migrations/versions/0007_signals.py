"""which signal ended a rank, where that is known"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ranks", sa.Column("signal", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("ranks", "signal")
