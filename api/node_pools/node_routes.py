"""A pool's nodes: make, get, list, update, drain, delete. All of it is for admins of the pool's own account."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.node_pools.rules import new_id_violations, node_change_violations, node_violations
from api.node_pools.schema_in import NODE, NODE_CREATE, read_node_create, read_node_update
from api.node_pools.schema_out import NodeList, NodeRead, node
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults, message
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from core.errors import FieldViolation, InvalidArgument
from core.pools import nodes
from core.pools.nodes import NODE_LISTING, NodeDetails

router = APIRouter(prefix="/nodePools/{pool_id}/nodes")

_LIST = ListSchema("nodes", NODE_LISTING, NodeRead)
_GET_QUERY = {"readMask": read_mask_parameter(NodeRead)}
_UPDATE_QUERY = {"updateMask": wire_query.TEXT}
_NO_FIELDS = message({})
_RESET: dict[str, Any] = {"slots": 0, "address": "", "labels": {}}


@router.post("", **documented(answer=NodeRead, body=NODE_CREATE, required=["node", "nodeId"]))
@needs(Need.NODE_OWNER)
def create_node(request: Request, pool_id: str, platform: PlatformDep, body: Body) -> Response:
    """Name an engine; it takes ranks once a supervisor of its worker group has seen it."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    node_id, fields = read_node_create(load_json(json_text(request, body)), faults)
    named = {fault.field for fault in faults}
    violations = node_violations(fields, plain_engines=platform.settings.plain_engine_set)
    found = [*new_id_violations("nodeId", node_id)]
    found += [FieldViolation(f"node.{each.field}", each.description) for each in violations]
    faults += [each for each in found if each.field not in named and not {"node", "body"} & named]
    if faults:
        raise InvalidArgument(faults)
    made = nodes.create_node(
        platform.database,
        caller.account,
        pool_id,
        node_id,
        endpoint=fields["endpoint"],
        worker_group=fields.get("workerGroup") or platform.settings.worker_group,
        slots=fields.get("slots", 0),
        address=fields.get("address", ""),
        labels=fields.get("labels", {}),
    )
    return json_response(node(made))


@router.get("", **documented(answer=NodeList, query=_LIST.parameters, errors=[403]))
@needs(Need.ADMIN)
def list_nodes(request: Request, pool_id: str, platform: PlatformDep) -> Response:
    """The pool's nodes, by name where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account, pool_id)
    page = nodes.list_nodes(platform.database, caller.account, pool_id, asked.query)
    return json_response(asked.answer(map(node, page.items), page))


@router.post("/{node_id}:drain", **documented(answer=NodeRead, body=_NO_FIELDS, body_optional=True))
@needs(Need.ADMIN)
def drain_node(request: Request, pool_id: str, node_id: str, platform: PlatformDep, body: Body) -> Response:
    """Place nothing new on the node; what runs there ends by itself. Again is no error."""
    return json_response(node(_drain(request, pool_id, node_id, platform, body, wanted=True)))


@router.post("/{node_id}:undrain", **documented(answer=NodeRead, body=_NO_FIELDS, body_optional=True))
@needs(Need.ADMIN)
def undrain_node(request: Request, pool_id: str, node_id: str, platform: PlatformDep, body: Body) -> Response:
    """Take ranks again. Again is no error."""
    found = _drain(request, pool_id, node_id, platform, body, wanted=False)
    platform.bell.schedule(found.pool_row)
    return json_response(node(found))


@router.get("/{node_id}", **documented(answer=NodeRead, query=_GET_QUERY, errors=[403]))
@needs(Need.ADMIN)
def get_node(request: Request, pool_id: str, node_id: str, platform: PlatformDep) -> Response:
    """One node."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    found = nodes.get_node_details(platform.database, caller.account, pool_id, node_id)
    return json_response(query["readMask"].apply(node(found)))


@router.patch("/{node_id}", **documented(answer=NodeRead, query=_UPDATE_QUERY, body=NODE))
@needs(Need.NODE_OWNER)
def update_node(request: Request, pool_id: str, node_id: str, platform: PlatformDep, body: Body) -> Response:
    """Change how many slots a node has, its address, or its labels; another engine is another node."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _UPDATE_QUERY)
    faults: Faults = []
    fields = read_node_update(load_json(json_text(request, body)), query["updateMask"], faults)
    faults += node_change_violations(fields)
    if faults:
        raise InvalidArgument(faults)
    # What is reset is back at the pool's rule, and has no labels of its own.
    changes = {field: fields[field] or unset for field, unset in _RESET.items() if field in fields}
    found = nodes.change_node(platform.database, caller.account, pool_id, node_id, **changes)
    # More slots, or other labels, may be what a job waits for.
    platform.bell.schedule(found.pool_row)
    return json_response(node(found))


@router.delete("/{node_id}", **documented(answer=Empty))
@needs(Need.NODE_OWNER)
def delete_node(request: Request, pool_id: str, node_id: str, platform: PlatformDep) -> Response:
    """Let go of an engine on which nothing of ours runs."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    nodes.delete_node(platform.database, caller.account, pool_id, node_id)
    return json_response({})


def _drain(
    request: Request, pool_id: str, node_id: str, platform: Platform, body: bytes, *, wanted: bool
) -> NodeDetails:
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    _NO_FIELDS.read(load_json(json_text(request, body, absent=b"{}")), "", faults)
    if faults:
        raise InvalidArgument(faults)
    return nodes.drain_node(platform.database, caller.account, pool_id, node_id, wanted=wanted)
