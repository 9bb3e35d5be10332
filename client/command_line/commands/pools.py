"""`longshore pools`, `nodes`, `drain` and `undrain`: what jobs run on."""

from __future__ import annotations

from typing import Annotated

import typer

from client.command_line.session import Json, Session, session_of
from client.reads.pools import Node, NodePool

Pool = Annotated[str | None, typer.Option("--pool", help="The node's pool; the profile's, else default.")]
NodeId = Annotated[str, typer.Argument(metavar="NODE", help="A node's id.")]


def pools(context: typer.Context, as_json: Json = False) -> int:
    """List pools, and what goes on in them."""
    session = session_of(context, as_json)
    return session.screen.listed(session.longshore.pools(), ("POOL", "NODES", "JOBS", "IMAGE"), _pool_row)


def nodes(
    context: typer.Context,
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="The profile's, else default.")] = None,
    as_json: Json = False,
) -> int:
    """List the nodes of a pool; for admins."""
    session = session_of(context, as_json)
    found = session.longshore.nodes(pool or session.pool)
    return session.screen.listed(
        found, ("NODE", "STATE", "SLOTS", "GPUS", "FREE", "STATUS"), _node_row, folds=True
    )


def drain(context: typer.Context, node: NodeId, pool: Pool = None, as_json: Json = False) -> int:
    """Place nothing new on a node; what runs there ends by itself."""
    session = session_of(context, as_json)
    return _tell(session, session.longshore.drain(pool or session.pool, node))


def undrain(context: typer.Context, node: NodeId, pool: Pool = None, as_json: Json = False) -> int:
    """Let a node take ranks again."""
    session = session_of(context, as_json)
    return _tell(session, session.longshore.undrain(pool or session.pool, node))


def _tell(session: Session, node: Node) -> int:
    return session.screen.done(dict(node.fields), f"{node.id} is {node.state.lower()}: {node.status}")


def _pool_row(pool: NodePool) -> tuple[str, ...]:
    stats = pool.node_pool_stats
    jobs = [f"{count} {state.lower()}" for state, count in stats.batch_job_count.items() if count]
    image = str(pool.docker_node_pool.get("defaultImageRef", ""))
    return pool.id, str(stats.node_count), ", ".join(jobs) or "none", image


def _node_row(node: Node) -> tuple[str, ...]:
    slots = f"{node.slots_in_use}/{node.slots}"
    disk = "" if node.free_disk_bytes is None else f"{node.free_disk_bytes / (1 << 30):.0f} GiB"
    return node.id, node.state, slots, str(node.gpus or ""), disk, node.status
