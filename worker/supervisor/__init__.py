"""One asyncio process per worker group: holds nodes by lease, watches their containers, keeps their output.

`process` → `node_holder` → `node_watch` (events, listings, pulls, networks) → `rank_watch` (one container);
`usage_sampler` (what a node's ranks use) → `usage_writer` (of all nodes).
"""
