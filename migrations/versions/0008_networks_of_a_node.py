"""an index of the gang networks that a node's engine may have"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_gang_networks_nodes", "gang_networks", ["nodes"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("ix_gang_networks_nodes", table_name="gang_networks")
