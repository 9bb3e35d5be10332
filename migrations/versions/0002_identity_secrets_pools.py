"""identity, secrets, pools and what a client may name itself"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_FALSE = sa.text("false")
_LIVING = sa.text("deleted_at IS NULL")
_ENDED = "('COMPLETED', 'FAILED', 'CANCELLED')"


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else _NOW
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    _upgrade_identity()
    _upgrade_pools()
    _upgrade_jobs()
    _upgrade_images()


def _upgrade_identity() -> None:
    op.add_column("accounts", sa.Column("display_name", sa.Text(), server_default="", nullable=False))
    op.add_column("accounts", sa.Column("email", sa.Text(), server_default="", nullable=False))
    op.add_column("accounts", sa.Column("is_operator", sa.Boolean(), server_default=_FALSE, nullable=False))
    op.add_column("accounts", sa.Column("may_own_nodes", sa.Boolean(), server_default=_FALSE, nullable=False))
    op.add_column("accounts", sa.Column("max_live_jobs", sa.Integer(), nullable=True))
    op.add_column("accounts", sa.Column("max_live_ranks", sa.Integer(), nullable=True))
    op.add_column("accounts", _time("updated_at"))
    # Accounts of before own the nodes that they have.
    op.execute("UPDATE accounts SET may_own_nodes = true")

    op.add_column("users", sa.Column("user_id", sa.Text(), nullable=True))
    op.execute("UPDATE users SET user_id = 'user-' || id")
    op.alter_column("users", "user_id", nullable=False)
    op.add_column("users", sa.Column("display_name", sa.Text(), server_default="", nullable=False))
    op.add_column("users", _time("updated_at"))
    op.create_unique_constraint(op.f("uq_users_account_id_user_id"), "users", ["account_id", "user_id"])
    op.create_check_constraint(op.f("ck_users_role"), "users", "role IN ('admin', 'user')")

    op.add_column("api_keys", sa.Column("display_name", sa.Text(), server_default="", nullable=False))
    op.add_column("api_keys", _time("last_used_at", nullable=True))
    op.drop_constraint("fk_api_keys_user_id", "api_keys", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_api_keys_user_id"), "api_keys", "users", ["user_id"], ["id"], ondelete="CASCADE"
    )

    op.create_table(
        "secrets",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("secret_id", sa.Text(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("sealing_key", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_secrets_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("account_id", "secret_id", name=op.f("uq_secrets_account_id_secret_id")),
    )


def _upgrade_pools() -> None:
    for name in ("min_node_count", "max_node_count", "overprovision_node_count"):
        op.add_column("node_pools", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    for name in ("annotations", "labels"):
        op.add_column(
            "node_pools",
            sa.Column(name, postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        )
    for name in ("network", "node_role"):
        op.add_column("node_pools", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("node_pools", sa.Column("shm_bytes", sa.BigInteger(), nullable=True))
    op.add_column("node_pools", sa.Column("offered_to_all", sa.Boolean(), server_default=_FALSE, nullable=False))
    op.add_column("node_pools", _time("deleted_at", nullable=True))
    op.drop_constraint("uq_node_pools_account_id_pool_id", "node_pools", type_="unique")
    op.create_index(
        "uq_node_pools_account_id_pool_id",
        "node_pools",
        ["account_id", "pool_id"],
        unique=True,
        postgresql_where=_LIVING,
    )

    op.add_column("nodes", sa.Column("wanted_slots", sa.Integer(), server_default="0", nullable=False))
    op.add_column("nodes", sa.Column("gpu_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("nodes", sa.Column("free_disk_bytes", sa.BigInteger(), nullable=True))
    op.add_column("nodes", sa.Column("drain_requested", sa.Boolean(), server_default=_FALSE, nullable=False))
    op.add_column("nodes", _time("created_at"))
    op.add_column("nodes", _time("updated_at"))
    op.add_column("nodes", _time("deleted_at", nullable=True))
    op.drop_constraint("uq_nodes_pool_id_name", "nodes", type_="unique")
    op.create_index("uq_nodes_pool_id_name", "nodes", ["pool_id", "name"], unique=True, postgresql_where=_LIVING)
    op.create_index(
        "uq_nodes_endpoint_worker_group",
        "nodes",
        ["endpoint", "worker_group"],
        unique=True,
        postgresql_where=_LIVING,
    )

    op.create_table(
        "node_pool_bindings",
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        _time("created_at"),
        sa.ForeignKeyConstraint(["pool_id"], ["node_pools.id"], name=op.f("fk_node_pool_bindings_pool_id")),
        sa.PrimaryKeyConstraint("pool_id", "principal", name=op.f("pk_node_pool_bindings")),
    )
    op.create_table(
        "role_bindings",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        _time("created_at"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_role_bindings_account_id")),
        sa.PrimaryKeyConstraint("account_id", "principal", "role", name=op.f("pk_role_bindings")),
    )


def _upgrade_jobs() -> None:
    op.add_column("jobs", sa.Column("batch_job_id", sa.Text(), nullable=True))
    op.execute("UPDATE jobs SET batch_job_id = id")
    op.alter_column("jobs", "batch_job_id", nullable=False)
    op.create_unique_constraint(op.f("uq_jobs_account_id_batch_job_id"), "jobs", ["account_id", "batch_job_id"])
    op.add_column("jobs", sa.Column("image_pull_secret", sa.Text(), server_default="", nullable=False))

    op.create_index(
        "ix_job_events_of_job", "job_events", ["job_id", "id"], postgresql_where=sa.text("rank IS NULL")
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("account_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"])
    _upgrade_job_counts()


def _upgrade_job_counts() -> None:
    op.create_table(
        "job_counts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("live_jobs", sa.BigInteger(), nullable=False),
        sa.Column("live_ranks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "shard", name=op.f("pk_job_counts")),
    )
    # Room in each page, so that an update need not move the row.
    op.execute("ALTER TABLE job_counts SET (fillfactor = 50)")
    op.execute(
        "INSERT INTO job_counts SELECT account_id, 0, count(*),"
        f" count(*) FILTER (WHERE state NOT IN {_ENDED}),"
        f" coalesce(sum(num_ranks) FILTER (WHERE state NOT IN {_ENDED}), 0) FROM jobs GROUP BY account_id"
    )
    op.execute(
        f"""
        CREATE FUNCTION count_job() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            was_live int := (TG_OP <> 'INSERT' AND OLD.state NOT IN {_ENDED})::int;
            is_live int := (TG_OP <> 'DELETE' AND NEW.state NOT IN {_ENDED})::int;
            known int := (TG_OP = 'INSERT')::int - (TG_OP = 'DELETE')::int;
            account text := CASE TG_OP WHEN 'DELETE' THEN OLD.account_id ELSE NEW.account_id END;
            ranks int := CASE TG_OP WHEN 'DELETE' THEN OLD.num_ranks ELSE NEW.num_ranks END;
        BEGIN
            INSERT INTO job_counts AS c VALUES
                (account, pg_backend_pid() % 64, known, is_live - was_live, (is_live - was_live) * ranks)
            ON CONFLICT (account_id, shard) DO UPDATE SET jobs = c.jobs + EXCLUDED.jobs,
                live_jobs = c.live_jobs + EXCLUDED.live_jobs, live_ranks = c.live_ranks + EXCLUDED.live_ranks;
            RETURN NULL;
        END $$
        """
    )
    # At commit, when every other lock is held already: a shard that two connections share cannot be half of
    # a deadlock then.
    for name, event in (
        ("jobs_counted_on_insert_and_delete", "INSERT OR DELETE"),
        ("jobs_counted_on_update", "UPDATE OF state"),
    ):
        when = (
            ""
            if name.endswith("delete")
            else (f" WHEN ((OLD.state IN {_ENDED}) IS DISTINCT FROM (NEW.state IN {_ENDED}))")
        )
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {name} AFTER {event} ON jobs DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW{when} EXECUTE FUNCTION count_job()"
        )


def _upgrade_images() -> None:
    op.add_column("image_pulls", sa.Column("pull_secret", sa.BigInteger(), server_default="0", nullable=False))
    op.drop_constraint("pk_image_pulls", "image_pulls", type_="primary")
    op.create_primary_key(op.f("pk_image_pulls"), "image_pulls", ["node_id", "image_ref", "pull_secret"])
    op.create_table(
        "private_repositories",
        sa.Column("repository", sa.Text(), nullable=False),
        _time("first_at"),
        sa.PrimaryKeyConstraint("repository", name=op.f("pk_private_repositories")),
    )


def downgrade() -> None:
    op.drop_table("private_repositories")
    op.execute("DELETE FROM image_pulls WHERE pull_secret <> 0")
    op.drop_constraint("pk_image_pulls", "image_pulls", type_="primary")
    op.drop_column("image_pulls", "pull_secret")
    op.create_primary_key("pk_image_pulls", "image_pulls", ["node_id", "image_ref"])

    op.execute("DROP TRIGGER jobs_counted_on_update ON jobs")
    op.execute("DROP TRIGGER jobs_counted_on_insert_and_delete ON jobs")
    op.execute("DROP FUNCTION count_job()")
    op.drop_table("job_counts")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_job_events_of_job", "job_events")
    op.drop_column("jobs", "image_pull_secret")
    op.drop_column("jobs", "batch_job_id")

    op.drop_table("role_bindings")
    op.drop_table("node_pool_bindings")
    op.drop_index("uq_nodes_endpoint_worker_group", "nodes")
    op.drop_index("uq_nodes_pool_id_name", "nodes")
    for name in ("wanted_slots", "gpu_count", "free_disk_bytes", "drain_requested", "created_at", "updated_at"):
        op.drop_column("nodes", name)
    op.drop_column("nodes", "deleted_at")
    op.create_unique_constraint("uq_nodes_pool_id_name", "nodes", ["pool_id", "name"])
    op.drop_index("uq_node_pools_account_id_pool_id", "node_pools")
    for name in ("min_node_count", "max_node_count", "overprovision_node_count", "annotations", "labels"):
        op.drop_column("node_pools", name)
    for name in ("network", "node_role", "shm_bytes", "offered_to_all", "deleted_at"):
        op.drop_column("node_pools", name)
    op.create_unique_constraint("uq_node_pools_account_id_pool_id", "node_pools", ["account_id", "pool_id"])

    op.drop_table("secrets")
    op.drop_constraint("fk_api_keys_user_id", "api_keys", type_="foreignkey")
    op.create_foreign_key("fk_api_keys_user_id", "api_keys", "users", ["user_id"], ["id"])
    for name in ("display_name", "last_used_at"):
        op.drop_column("api_keys", name)
    op.drop_constraint(op.f("ck_users_role"), "users", type_="check")
    for name in ("user_id", "display_name", "updated_at"):
        op.drop_column("users", name)
    for name in ("display_name", "email", "is_operator", "may_own_nodes", "max_live_jobs", "max_live_ranks"):
        op.drop_column("accounts", name)
    op.drop_column("accounts", "updated_at")
