"""A NodePool, its stats and a Node as they are answered: camelCase, zero values for what is not set."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.openapi.values import names_of
from api.wire.quantities import format_bytes, format_cpu
from api.wire.times import format_time
from core.nodes import DOWN, DRAINING, READY
from core.pools import nodes, reading
from core.pools.nodes import NodeDetails
from core.pools.reading import PoolRecord, PoolStats


class StatusRead(TypedDict):
    code: str
    message: str


class NodePoolStatsRead(TypedDict):
    """Counts of jobs by state, of those that have not ended."""

    nodeCount: int
    ranksPerNode: int
    environmentCount: int
    environmentRanks: int
    batchJobCount: dict[str, int]
    batchJobRanks: dict[str, int]


class ResourcesRead(TypedDict):
    """Of one rank: CPUs, and bytes with a binary suffix; "" is what the node has, by its slots."""

    cpu: str
    memory: str
    shmSize: str


class DockerNodePoolRead(TypedDict):
    ranksPerNode: int
    network: str
    defaultImageRef: str
    defaultResources: ResourcesRead
    nodeRole: str
    labels: dict[str, str]


class NodePoolRead(TypedDict):
    """Every field of the reference, and ours after them."""

    name: str
    displayName: str
    createTime: str | None
    updateTime: str | None
    minNodeCount: int
    maxNodeCount: int
    overprovisionNodeCount: int
    annotations: dict[str, str]
    state: Annotated[str, names_of(*reading.STATES)]
    status: StatusRead
    nodePoolStats: NodePoolStatsRead
    dockerNodePool: DockerNodePoolRead
    offeredToAll: bool


class NodePoolList(TypedDict):
    nodePools: list[NodePoolRead]
    nextPageToken: str
    totalSize: int


class NodeRead(TypedDict):
    """One Docker engine. `slots` are those that it has, by its own number or by its pool's rule.

    It takes new ranks if it is `accepting`: READY, and with disk and network as they need to be. `labels` are its
    own, over those of its pool.
    """

    name: str
    endpoint: str
    workerGroup: str
    address: str
    labels: dict[str, str]
    slots: int
    slotsInUse: int
    gpus: int
    cpus: int
    memoryBytes: str
    freeDiskBytes: str | None
    freeInodes: str | None
    engineVersion: str
    swarmRole: str
    accepting: bool
    state: Annotated[str, names_of(*nodes.STATES)]
    status: str
    stateTime: str | None
    createTime: str | None
    updateTime: str | None


class NodeList(TypedDict):
    nodes: list[NodeRead]
    nextPageToken: str
    totalSize: int


def node_pool(pool: PoolRecord, stats: PoolStats) -> NodePoolRead:
    """A stored pool on the wire. Its name is its owner's, whoever asks."""
    return {
        "name": f"accounts/{pool.account}/nodePools/{pool.pool_id}",
        "displayName": pool.display_name,
        "createTime": format_time(pool.created_at),
        "updateTime": format_time(pool.updated_at),
        "minNodeCount": pool.min_node_count,
        "maxNodeCount": pool.max_node_count,
        "overprovisionNodeCount": pool.overprovision_node_count,
        "annotations": dict(pool.annotations),
        "state": reading.READY,
        "status": {"code": "OK", "message": ""},
        "nodePoolStats": node_pool_stats(stats),
        "dockerNodePool": {
            "ranksPerNode": pool.ranks_per_node,
            "network": pool.network,
            "defaultImageRef": pool.default_image_ref or "",
            "defaultResources": {
                "cpu": format_cpu(pool.cpu_limit),
                "memory": format_bytes(pool.memory_limit_bytes),
                "shmSize": format_bytes(pool.shm_bytes),
            },
            "nodeRole": pool.node_role,
            "labels": dict(pool.labels),
        },
        "offeredToAll": pool.offered_to_all,
    }


def node_pool_stats(stats: PoolStats) -> NodePoolStatsRead:
    """What goes on in a pool, on the wire."""
    return {
        "nodeCount": stats.node_count,
        "ranksPerNode": stats.ranks_per_node,
        "environmentCount": 0,
        "environmentRanks": 0,
        "batchJobCount": dict(stats.job_count),
        "batchJobRanks": dict(stats.job_ranks),
    }


def node(found: NodeDetails) -> NodeRead:
    """A stored node on the wire; int64 are strings there."""
    free = found.free_disk_bytes
    return {
        "name": f"accounts/{found.account}/nodePools/{found.pool}/nodes/{found.node}",
        "endpoint": found.endpoint,
        "workerGroup": found.worker_group,
        "address": found.address,
        "labels": dict(found.labels),
        "slots": found.slots,
        "slotsInUse": found.slots_in_use,
        "gpus": found.gpu_count,
        "cpus": found.cpu_count,
        "memoryBytes": str(found.memory_bytes),
        "freeDiskBytes": None if free is None else str(free),
        "freeInodes": None if found.free_inodes is None else str(found.free_inodes),
        "engineVersion": found.engine_version,
        "swarmRole": found.swarm_role,
        "accepting": found.state == READY and not found.withheld,
        "state": found.state,
        "status": _node_status(found),
        "stateTime": format_time(found.state_since),
        "createTime": format_time(found.created_at),
        "updateTime": format_time(found.updated_at),
    }


def _node_status(found: NodeDetails) -> str:
    if found.state == DOWN:
        return found.state_detail
    if found.state == DRAINING:
        still = f"{found.slots_in_use} ranks still run" if found.slots_in_use else "nothing runs here any more"
        return f"{still}; nothing new is placed here"
    if found.withheld:
        return f"nothing new is placed here: {found.withheld}"
    return f"{found.slots_in_use} of {found.slots} slots are in use"
