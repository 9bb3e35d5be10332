"""gangs on their hosts' own network hold no block of addresses: they make no network"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("gang_networks", "subnet", existing_type=sa.Text(), nullable=True)
    op.execute("UPDATE gang_networks SET subnet = NULL WHERE driver = 'host'")
    op.create_check_constraint("subnet", "gang_networks", "(subnet IS NULL) = (driver = 'host')")


def downgrade() -> None:
    op.drop_constraint("subnet", "gang_networks", type_="check")
    # One address each of a range that nobody can use: nothing is made of it, it only has to be there and its own.
    op.execute(
        "UPDATE gang_networks g SET subnet = text(inet '240.0.0.0' + n.number) FROM (SELECT job_id, attempt,"
        " row_number() OVER (ORDER BY job_id, attempt) AS number FROM gang_networks WHERE subnet IS NULL) n"
        " WHERE g.job_id = n.job_id AND g.attempt = n.attempt"
    )
    op.alter_column("gang_networks", "subnet", existing_type=sa.Text(), nullable=False)
