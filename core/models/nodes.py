"""Pools of nodes, who may use them, and what is on a node beside ranks: images."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.row import Row


class NodePool(Row):
    """A deleted pool stays, marked, for the jobs that ran in it."""

    __tablename__ = "node_pools"
    __table_args__ = (
        Index(
            "uq_node_pools_account_id_pool_id",
            "account_id",
            "pool_id",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    pool_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    display_name: Mapped[str] = mapped_column(server_default="")
    default_image_ref: Mapped[str | None]
    ranks_per_node: Mapped[int] = mapped_column(
        server_default="0", doc="0 = the larger of 8 and twice the node's CPUs"
    )
    cpu_limit: Mapped[float] = mapped_column(Float, server_default="1", doc="CPUs of one rank")
    memory_limit_bytes: Mapped[int | None] = mapped_column(
        BigInteger, doc="of one rank; null = the node's memory, less a tenth, divided by its slots"
    )
    pids_limit: Mapped[int] = mapped_column(server_default="4096", doc="processes and threads of one rank")
    shm_bytes: Mapped[int | None] = mapped_column(BigInteger, doc="of /dev/shm; null = the engine's default")
    min_node_count: Mapped[int] = mapped_column(server_default="0")
    max_node_count: Mapped[int] = mapped_column(server_default="0")
    overprovision_node_count: Mapped[int] = mapped_column(server_default="0")
    annotations: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    labels: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    network: Mapped[str] = mapped_column(server_default="")
    node_role: Mapped[str] = mapped_column(server_default="")
    offered_to_all: Mapped[bool] = mapped_column(server_default=text("false"), doc="every account may use it")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class NodePoolBinding(Row):
    """Who may use a pool: one user by e-mail, or every user of `accounts/<id>`. None at all = everyone."""

    __tablename__ = "node_pool_bindings"

    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Node(Row):
    """One Docker engine. The supervisor that watches it holds it by a lease on the database's clock.

    A deleted node stays, marked, for the ranks that ran on it.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        Index(
            "uq_nodes_pool_id_name", "pool_id", "name", unique=True, postgresql_where=text("deleted_at IS NULL")
        ),
        # One engine in two pools would be given out twice.
        Index(
            "uq_nodes_endpoint_worker_group",
            "endpoint",
            "worker_group",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("node_pools.id"))
    name: Mapped[str]
    endpoint: Mapped[str] = mapped_column(doc="unix:///path, tcp://host:port or ssh://host")
    worker_group: Mapped[str] = mapped_column(doc="the workers and the supervisor that can reach the engine")
    slots: Mapped[int] = mapped_column(doc="ranks that may run on it at the same time")
    wanted_slots: Mapped[int] = mapped_column(server_default="0", doc="what was asked for; 0 = by the pool's rule")
    cpu_count: Mapped[int]
    gpu_count: Mapped[int] = mapped_column(server_default="0")
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    free_disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    free_inodes: Mapped[int | None] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(
        server_default="", doc="by which the pool's other hosts reach it; empty = as its endpoint says"
    )
    swarm_role: Mapped[str] = mapped_column(server_default="", doc="manager, worker, or empty: in no swarm")
    withheld: Mapped[str] = mapped_column(
        server_default="",
        doc="why nothing new is placed on it although its engine answers; empty = it takes ranks",
    )
    labels: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'::jsonb"),
        doc="what it is, over the pool's labels, for jobs that name what they need",
    )
    drain_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(server_default="READY", doc="READY, DRAINING or DOWN")
    state_detail: Mapped[str] = mapped_column(server_default="")
    state_since: Mapped[datetime] = mapped_column(server_default=func.now())
    engine_version: Mapped[str] = mapped_column(server_default="")
    seen_at: Mapped[datetime | None] = mapped_column(doc="when the engine last answered its supervisor")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class ImagePull(Row):
    """One image wanted on one node with one credential: a single row, so a single pull, whoever waits for it.

    READY is also the proof that the credential may have the image, for as long as it is fresh.
    """

    __tablename__ = "image_pulls"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    image_ref: Mapped[str] = mapped_column(primary_key=True)
    pull_secret: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, server_default="0", doc="secrets.id, or 0 for the operator's credentials"
    )
    state: Mapped[str] = mapped_column(doc="WANTED, READY or FAILED")
    reason: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="")
    wanted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class PrivateRepository(Row):
    """A repository whose images were pulled with an account's own secret: nobody has them without proof."""

    __tablename__ = "private_repositories"

    repository: Mapped[str] = mapped_column(primary_key=True)
    first_at: Mapped[datetime] = mapped_column(server_default=func.now())
