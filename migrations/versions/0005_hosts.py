"""what several hosts need: where a gang's network is, a node's address, swarm, inodes, and why it takes no ranks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NODE_TEXTS = ("address", "swarm_role", "withheld")


def upgrade() -> None:
    op.add_column("nodes", sa.Column("free_inodes", sa.BigInteger(), nullable=True))
    for name in _NODE_TEXTS:
        op.add_column("nodes", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("gang_networks", sa.Column("driver", sa.Text(), server_default="bridge", nullable=False))
    op.add_column(
        "gang_networks",
        sa.Column(
            "nodes", postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'::bigint[]"), nullable=False
        ),
    )
    op.add_column(
        "gang_networks", sa.Column("is_ready", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    # Those that are there are bridges on the nodes of their ranks; where the job's rows are gone, on any of the pool.
    op.execute(
        "UPDATE gang_networks g SET nodes = coalesce("
        "(SELECT array_agg(DISTINCT r.node_id) FROM ranks r"
        " WHERE r.job_id = g.job_id AND r.attempt = g.attempt AND r.node_id IS NOT NULL),"
        "(SELECT array_agg(n.id) FROM nodes n WHERE n.pool_id = g.pool_id), '{}')"
    )


def downgrade() -> None:
    for name in ("is_ready", "nodes", "driver"):
        op.drop_column("gang_networks", name)
    for name in (*_NODE_TEXTS, "free_inodes"):
        op.drop_column("nodes", name)
