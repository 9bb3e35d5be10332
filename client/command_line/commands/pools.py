"""`longshore pools`, `nodes`, `drain` and `undrain`: what jobs run on."""

from __future__ import annotations

from typing import Annotated

import typer

from client.command_line.session import Json, Session, session_of
from client.reads.pools import Node

Pool = Annotated[str | None, typer.Option("--pool", help="The node's pool; the profile's, else default.")]
NodeId = Annotated[str, typer.Argument(metavar="NODE", help="A node's id.")]


def pools(context: typer.Context, as_json: Json = False) -> int:
    """List pools, and what goes on in them."""
    session = session_of(context, as_json)
    found = list(session.longshore.pools())
    if as_json:
        session.screen.json([dict(pool.fields) for pool in found])
        return 0
    rows = []
    for pool in found:
        stats = pool.node_pool_stats
        jobs = [f"{count} {state.lower()}" for state, count in stats.batch_job_count.items() if count]
        image = str(pool.docker_node_pool.get("defaultImageRef", ""))
        rows.append((pool.id, str(stats.node_count), ", ".join(jobs) or "none", image))
    session.screen.table(("POOL", "NODES", "JOBS", "IMAGE"), rows)
    return 0


def nodes(
    context: typer.Context,
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="The profile's, else default.")] = None,
    as_json: Json = False,
) -> int:
    """List the nodes of a pool; for admins."""
    session = session_of(context, as_json)
    found = list(session.longshore.nodes(pool or session.pool))
    if as_json:
        session.screen.json([dict(node.fields) for node in found])
        return 0
    rows = [
        (node.id, node.state, f"{node.slots_in_use}/{node.slots}", str(node.gpus or ""), _disk(node), node.status)
        for node in found
    ]
    session.screen.table(("NODE", "STATE", "SLOTS", "GPUS", "FREE", "STATUS"), rows, folds=True)
    return 0


def drain(context: typer.Context, node: NodeId, pool: Pool = None, as_json: Json = False) -> int:
    """Place nothing new on a node; what runs there ends by itself."""
    session = session_of(context, as_json)
    return _tell(session, session.longshore.drain(pool or session.pool, node))


def undrain(context: typer.Context, node: NodeId, pool: Pool = None, as_json: Json = False) -> int:
    """Let a node take ranks again."""
    session = session_of(context, as_json)
    return _tell(session, session.longshore.undrain(pool or session.pool, node))


def _tell(session: Session, node: Node) -> int:
    if session.screen.as_json:
        session.screen.json(dict(node.fields))
    else:
        session.screen.say(f"{node.id} is {node.state.lower()}: {node.status}")
    return 0


def _disk(node: Node) -> str:
    return "" if node.free_disk_bytes is None else f"{node.free_disk_bytes / (1 << 30):.0f} GiB"
