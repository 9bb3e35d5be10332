"""What a node pool and a node must be to be accepted. Pure: fields by path in, every violation out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from api.batch_jobs.image_reference import InvalidReference, parse_image_reference
from api.batch_jobs.rules import display_name_violations
from api.node_pools.schema_in import DOCKER, UNSERVED_POOLS
from api.wire.annotations import annotation_violations, label_violations
from api.wire.resource_ids import id_violations
from core.errors import FieldViolation, NotImplementedYet
from core.jobs.gang_networks import POOL_NETWORKS

MAX_NODES = 1000
#: A Linux bridge has 1,023 ports, and every rank of a node needs one.
MAX_SLOTS = 1000
_MAX_TEXT = 2048
_NO_NAME = re.compile(r"[\s\x00-\x1f\x7f]")
_WORKER_GROUP = re.compile(r"[a-z0-9][a-z0-9-]{0,30}", re.ASCII)
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
_TCP = re.compile(rf"tcp://{_HOST}:(?P<port>\d{{1,5}})", re.ASCII)
_SSH = re.compile(rf"ssh://(?:[A-Za-z_][A-Za-z0-9_.-]{{0,31}}@)?{_HOST}(?::(?P<port>\d{{1,5}}))?", re.ASCII)
#: What `sun_path` of a socket's address holds on Linux, its NUL counted.
_MAX_SOCKET_PATH = 107
_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
#: As registered: `docker` is 2375, `docker-s` 2376.
_PLAIN_PORT = ":2375"
_ENDPOINT_RULE = "must be unix:///path, tcp://host:port or ssh://user@host"


def pool_violations(fields: Mapping[str, Any]) -> Iterator[FieldViolation]:
    """Every rule that these fields of a pool break; None is a field that is reset, which breaks none."""
    given = {path: value for path, value in fields.items() if value is not None}
    yield from display_name_violations(given.get("displayName", ""))
    for name in ("minNodeCount", "maxNodeCount", "overprovisionNodeCount"):
        if not 0 <= given.get(name, 0) <= MAX_NODES:
            yield FieldViolation(name, f"must be between 0 and {MAX_NODES}")
    fewest, most = given.get("minNodeCount", 0), given.get("maxNodeCount", 0)
    if 0 < most < fewest <= MAX_NODES:
        yield FieldViolation("minNodeCount", f"must not be more than maxNodeCount, which is {most}")
    yield from annotation_violations(given.get("annotations", {}))
    if not 0 <= given.get(f"{DOCKER}.ranksPerNode", 0) <= MAX_SLOTS:
        yield FieldViolation(f"{DOCKER}.ranksPerNode", f"must be between 0 and {MAX_SLOTS}")
    image = given.get(f"{DOCKER}.defaultImageRef", "")
    if image:
        try:
            parse_image_reference(image)
        except InvalidReference as error:
            yield FieldViolation(f"{DOCKER}.defaultImageRef", str(error))
    if given.get(f"{DOCKER}.network", "") not in POOL_NETWORKS:
        yield FieldViolation(f"{DOCKER}.network", f"must be one of {', '.join(POOL_NETWORKS[1:])}, or empty")
    role = given.get(f"{DOCKER}.nodeRole", "")
    if role:
        yield from name_violations(f"{DOCKER}.nodeRole", role)
    yield from label_violations(f"{DOCKER}.labels", given.get(f"{DOCKER}.labels", {}))


def refuse_unserved(fields: Mapping[str, Any]) -> None:
    """Raise NotImplementedYet naming what these fields ask for and this version does not do."""
    unserved = [name for name in UNSERVED_POOLS if fields.get(name) is not None]
    if unserved:
        raise NotImplementedYet(f"not served yet: {', '.join(unserved)}")


def node_violations(fields: Mapping[str, Any], *, plain_engines: Collection[str] = ()) -> Iterator[FieldViolation]:
    """Every rule that a new node breaks. `plain_engines` are the `host:port` that may be spoken to without TLS."""
    endpoint, group = fields.get("endpoint", ""), fields.get("workerGroup", "")
    fault = _endpoint_fault(endpoint) if endpoint else "is required"
    if not fault and endpoint.endswith(_PLAIN_PORT) and endpoint.removeprefix("tcp://") not in plain_engines:
        fault = "names port 2375, the engine's without TLS: who reaches it is root there; use 2376 with TLS"
    if fault:
        yield FieldViolation("endpoint", fault)
    if group and _WORKER_GROUP.fullmatch(group) is None:
        yield FieldViolation("workerGroup", "must be of at most 31 of a-z 0-9 -, a letter or digit first")
    yield from node_change_violations(fields)


def node_change_violations(fields: Mapping[str, Any]) -> Iterator[FieldViolation]:
    """What is wrong with the fields of a node that may change; None is one that is reset, which breaks no rule."""
    yield from address_violations(fields)
    yield from slots_violations(fields)
    yield from label_violations("labels", fields.get("labels") or {})


def address_violations(fields: Mapping[str, Any]) -> Iterator[FieldViolation]:
    """What is wrong with how a node's host is reached from others."""
    address = fields.get("address") or ""
    if address and _ADDRESS.fullmatch(address) is None:
        yield FieldViolation("address", "must be the name or the IPv4 address by which other hosts reach this one")


def slots_violations(fields: Mapping[str, Any]) -> Iterator[FieldViolation]:
    """What is wrong with how many slots a node is to have."""
    if not 0 <= (fields.get("slots") or 0) <= MAX_SLOTS:
        yield FieldViolation("slots", f"must be between 0 and {MAX_SLOTS}; 0 is as many as the pool's rule gives")


def new_id_violations(field: str, given: str) -> list[FieldViolation]:
    """What is wrong with the id of something that is to be made."""
    return id_violations(field, given) if given else [FieldViolation(field, "is required")]


def name_violations(field: str, given: str) -> Iterator[FieldViolation]:
    """A name of another system's: one word of a bounded length."""
    if not 0 < len(given) <= _MAX_TEXT or _NO_NAME.search(given):
        yield FieldViolation(field, f"must be 1 to {_MAX_TEXT} characters without spaces")


def _endpoint_fault(endpoint: str) -> str:
    scheme, _, rest = endpoint.partition("://")
    match scheme:
        case "unix":
            return _socket_fault(rest)
        case "tcp":
            match = _TCP.fullmatch(endpoint)
        case "ssh":
            match = _SSH.fullmatch(endpoint)
        case _:
            match = None
    if match is None:
        return _ENDPOINT_RULE
    return "" if match["port"] is None or 1 <= int(match["port"]) <= 65_535 else "has a port past 65535"


def _socket_fault(path: str) -> str:
    if not path.startswith("/"):
        return "must be the socket's absolute path: unix:///var/run/docker.sock"
    if len(path.encode()) > _MAX_SOCKET_PATH:
        return f"must be a path of at most {_MAX_SOCKET_PATH} bytes, as Linux has it for sockets"
    return _ENDPOINT_RULE if _NO_NAME.search(path) or "/../" in f"{path}/" or path.endswith("/") else ""
