"""Pools and their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.calls.asking import Asking, segment
from client.exchange.effects import Flow, Request, Stream
from client.exchange.verbs import feed, verb
from client.reads.pools import Node, NodePool


class PoolCalls(Asking):
    """Verbs of an account, on what its jobs run on."""

    @feed
    def pools(self, filter: str = "", *, limit: int | None = None) -> Stream[NodePool]:
        """The account's pools, and those that are offered to it."""
        yield from self.each("/nodePools", "nodePools", NodePool.of, {"filter": filter}, limit)

    @verb
    def pool(self, pool_id: str) -> Flow[NodePool]:
        """One pool. Raises NotFound."""
        return (yield from self.read(Request("GET", f"/nodePools/{segment(pool_id)}"), NodePool))

    @verb
    def create_pool(self, pool_id: str, fields: Mapping[str, Any] | None = None) -> Flow[NodePool]:
        """A new pool, with these fields of the wire."""
        body = {"nodePoolId": pool_id, "nodePool": dict(fields or {})}
        return (yield from self.read(Request("POST", "/nodePools", body=body, repeatable=False), NodePool))

    @verb
    def update_pool(self, pool_id: str, fields: Mapping[str, Any]) -> Flow[NodePool]:
        """Change these fields of the wire."""
        return (yield from self.read(Request("PATCH", f"/nodePools/{segment(pool_id)}", body=fields), NodePool))

    @verb
    def delete_pool(self, pool_id: str) -> Flow[None]:
        """Remove a pool in which no job lives."""
        yield from self.remove(f"/nodePools/{segment(pool_id)}")

    @feed
    def nodes(self, pool_id: str, *, limit: int | None = None) -> Stream[Node]:
        """The engines of a pool; for admins."""
        yield from self.each(f"{_nodes(pool_id)}", "nodes", Node.of, limit=limit)

    @verb
    def node(self, pool_id: str, node_id: str) -> Flow[Node]:
        """One engine. Raises NotFound."""
        return (yield from self.read(Request("GET", f"{_nodes(pool_id)}/{segment(node_id)}"), Node))

    @verb
    def create_node(self, pool_id: str, node_id: str, fields: Mapping[str, Any]) -> Flow[Node]:
        """Name an engine: `endpoint`, and where wanted `slots`, `address`, `labels`."""
        body = {"nodeId": node_id, "node": dict(fields)}
        return (yield from self.read(Request("POST", _nodes(pool_id), body=body, repeatable=False), Node))

    @verb
    def delete_node(self, pool_id: str, node_id: str) -> Flow[None]:
        """Let go of an engine on which nothing runs."""
        yield from self.remove(f"{_nodes(pool_id)}/{segment(node_id)}")

    @verb
    def drain(self, pool_id: str, node_id: str) -> Flow[Node]:
        """Place nothing new on it; what runs there ends by itself."""
        return (
            yield from self.read(Request("POST", f"{_nodes(pool_id)}/{segment(node_id)}:drain", body={}), Node)
        )

    @verb
    def undrain(self, pool_id: str, node_id: str) -> Flow[Node]:
        """Take ranks again."""
        path = f"{_nodes(pool_id)}/{segment(node_id)}:undrain"
        return (yield from self.read(Request("POST", path, body={}), Node))


def _nodes(pool_id: str) -> str:
    return f"/nodePools/{segment(pool_id)}/nodes"
