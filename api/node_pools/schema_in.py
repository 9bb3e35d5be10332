"""A NodePool and a Node as requests give them: their fields and kinds, and the columns that they are stored in.

What a field must be beyond its kind is in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.wire.flat_fields import Fields, flattened, nested_kind, read_flat_update
from api.wire.proto_json import ANYTHING, BOOL, INT32, STRING, Faults, Kind, map_of, message
from api.wire.quantities import bytes_kind, cpu_kind

#: The engine starts nothing in less than 6 MiB.
_MEMORY = bytes_kind(6 << 20, 1 << 50)
_SHM = bytes_kind(1 << 12, 1 << 50)

DOCKER = "dockerNodePool"
POOL_FIELDS: Fields = {
    "displayName": STRING,
    "minNodeCount": INT32,
    "maxNodeCount": INT32,
    "overprovisionNodeCount": INT32,
    "annotations": map_of(STRING),
    DOCKER: {
        "ranksPerNode": INT32,
        "network": STRING,
        "defaultImageRef": STRING,
        "defaultResources": {"cpu": cpu_kind(), "memory": _MEMORY, "shmSize": _SHM},
        "nodeRole": STRING,
        "labels": map_of(STRING),
    },
    "offeredToAll": BOOL,
}
POOL_OUTPUT_ONLY = frozenset({"name", "createTime", "updateTime", "state", "status", "nodePoolStats"})
#: The reference's other kinds of pool.
UNSERVED_POOLS = ("eksNodePool", "fakeNodePool")

_DEFAULT_CPU = 1.0
_COLUMNS: Mapping[str, tuple[str, Any]] = {
    "displayName": ("display_name", ""),
    "minNodeCount": ("min_node_count", 0),
    "maxNodeCount": ("max_node_count", 0),
    "overprovisionNodeCount": ("overprovision_node_count", 0),
    "annotations": ("annotations", {}),
    f"{DOCKER}.ranksPerNode": ("ranks_per_node", 0),
    f"{DOCKER}.network": ("network", ""),
    f"{DOCKER}.defaultImageRef": ("default_image_ref", None),
    f"{DOCKER}.defaultResources.cpu": ("cpu_limit", _DEFAULT_CPU),
    f"{DOCKER}.defaultResources.memory": ("memory_limit_bytes", None),
    f"{DOCKER}.defaultResources.shmSize": ("shm_bytes", None),
    f"{DOCKER}.nodeRole": ("node_role", ""),
    f"{DOCKER}.labels": ("labels", {}),
    "offeredToAll": ("offered_to_all", False),
}

NODE_POOL = nested_kind({**POOL_FIELDS, **dict.fromkeys(UNSERVED_POOLS, ANYTHING)}, ignored=POOL_OUTPUT_ONLY)
NODE_POOL_CREATE = message({"nodePool": NODE_POOL, "nodePoolId": STRING})

NODE_FIELDS: dict[str, Kind] = {"slots": INT32, "address": STRING, "labels": map_of(STRING)}
NODE_IMMUTABLE = ("endpoint", "workerGroup")
NODE_OUTPUT_ONLY = frozenset(
    {"name", "slotsInUse", "gpus", "cpus", "memoryBytes", "freeDiskBytes", "freeInodes", "engineVersion"}
    | {"swarmRole", "accepting", "state", "status", "stateTime", "createTime", "updateTime"}
)
NODE = message({**dict.fromkeys(NODE_IMMUTABLE, STRING), **NODE_FIELDS}, ignored=NODE_OUTPUT_ONLY)
NODE_CREATE = message({"node": NODE, "nodeId": STRING})


def read_pool_create(body: object, faults: Faults) -> tuple[str, dict[str, Any]]:
    """The new pool's id, and its fields by path."""
    given = NODE_POOL_CREATE.read(body, "", faults)
    if not isinstance(given, dict):
        return "", {}
    return given.get("nodePoolId", ""), flattened(given.get("nodePool", {}), POOL_FIELDS)


def read_pool_update(body: object, mask: str, faults: Faults) -> dict[str, Any]:
    """What a PATCH sets, by path; None for what it resets."""
    fields: Fields = {**POOL_FIELDS, **dict.fromkeys(UNSERVED_POOLS, ANYTHING)}
    return read_flat_update(body, mask, fields, faults, fixed=(), ignored=POOL_OUTPUT_ONLY)


def pool_columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by path as columns; what is reset, or has its zero value, as it is when nobody sets it."""
    return {column: fields[path] or unset for path, (column, unset) in _COLUMNS.items() if path in fields}


def read_node_create(body: object, faults: Faults) -> tuple[str, Mapping[str, Any]]:
    """The new node's id, and its fields."""
    given = NODE_CREATE.read(body, "", faults)
    if not isinstance(given, dict):
        return "", {}
    return given.get("nodeId", ""), given.get("node", {})


def read_node_update(body: object, mask: str, faults: Faults) -> dict[str, Any]:
    """What a PATCH sets; None for what it resets."""
    return read_flat_update(body, mask, NODE_FIELDS, faults, fixed=NODE_IMMUTABLE, ignored=NODE_OUTPUT_ONLY)
