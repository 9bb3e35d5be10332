"""Create, get, list, update, delete pools, and their stats. Verbs commit in `core`, then the bell rings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.node_pools.rules import new_id_violations, pool_violations, refuse_unserved
from api.node_pools.schema_in import (
    NODE_POOL,
    NODE_POOL_CREATE,
    pool_columns,
    read_pool_create,
    read_pool_update,
)
from api.node_pools.schema_out import (
    NodePoolList,
    NodePoolRead,
    NodePoolStatsRead,
    node_pool,
    node_pool_stats,
)
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from api.wire.resource_names import NAMES, read_names
from core.accounts import Caller
from core.errors import FieldViolation, InvalidArgument, PermissionDenied
from core.pools import changing, reading
from core.pools.reading import POOL_LISTING, PoolRecord

router = APIRouter()

_LIST = ListSchema("nodePools", POOL_LISTING, NodePoolRead)
_GET_QUERY = {"readMask": read_mask_parameter(NodePoolRead)}
_STATS_QUERY = {"readMask": read_mask_parameter(NodePoolStatsRead)}
_UPDATE_QUERY = {"updateMask": wire_query.TEXT}
_BODY_FIELD = "nodePool"


@router.post(
    "/nodePools",
    **documented(answer=NodePoolRead, body=NODE_POOL_CREATE, required=["nodePoolId"], errors=[501]),
)
@needs(Need.ADMIN)
def create_node_pool(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Make a pool; its nodes are added to it one by one."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    pool_id, fields = read_pool_create(load_json(json_text(request, body)), faults)
    faults += _not_named_yet(faults, new_id_violations("nodePoolId", pool_id))
    faults += _not_named_yet(faults, _below(_BODY_FIELD, pool_violations(fields)))
    _refuse(caller, fields, faults)
    pool = changing.create_pool(platform.database, caller.account, pool_id, pool_columns(fields))
    return json_response(_answer(platform, caller, pool))


@router.get("/nodePools", **documented(answer=NodePoolList, query=_LIST.parameters))
@needs(Need.READ)
def list_node_pools(request: Request, platform: PlatformDep) -> Response:
    """The account's pools and those offered to it, by name where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account)
    page = reading.list_pools(platform.database, caller.account, asked.query)
    stats = reading.read_stats(platform.database, caller, page.items)
    return json_response(asked.answer((node_pool(pool, stats[pool.row]) for pool in page.items), page))


@router.get("/nodePools/{pool_id}:getStats", **documented(answer=NodePoolStatsRead, query=_STATS_QUERY))
@needs(Need.READ)
def get_node_pool_stats(request: Request, pool_id: str, platform: PlatformDep) -> Response:
    """What goes on in a pool; in one that another account offers, of the jobs only the own."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _STATS_QUERY)
    pool = reading.get_pool(platform.database, caller.account, pool_id)
    stats = reading.read_stats(platform.database, caller, [pool])[pool.row]
    return json_response(query["readMask"].apply(node_pool_stats(stats)))


@router.get("/nodePools/{pool_id}", **documented(answer=NodePoolRead, query=_GET_QUERY))
@needs(Need.READ)
def get_node_pool(request: Request, pool_id: str, platform: PlatformDep) -> Response:
    """One pool."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    pool = reading.get_pool(platform.database, caller.account, pool_id)
    return json_response(query["readMask"].apply(_answer(platform, caller, pool)))


@router.patch(
    "/nodePools/{pool_id}", **documented(answer=NodePoolRead, query=_UPDATE_QUERY, body=NODE_POOL, errors=[501])
)
@needs(Need.ADMIN)
def update_node_pool(request: Request, pool_id: str, platform: PlatformDep, body: Body) -> Response:
    """Change the fields in the body, or those that `updateMask` names, which may name fields below others."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _UPDATE_QUERY)
    faults: Faults = []
    fields = read_pool_update(load_json(json_text(request, body)), query["updateMask"], faults)
    faults += _not_named_yet(faults, pool_violations(fields))
    _refuse(caller, fields, faults)
    pool = changing.change_pool(platform.database, caller.account, pool_id, pool_columns(fields))
    # Its nodes may have more room than before.
    platform.bell.schedule(pool.row)
    return json_response(_answer(platform, caller, pool))


@router.post("/nodePools:batchDelete", **documented(answer=Empty, body=NAMES, required=["names"]))
@needs(Need.ADMIN)
def batch_delete_node_pools(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Delete several pools, or none where one cannot be."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    pool_ids = read_names(load_json(json_text(request, body)), caller.account, "nodePools")
    changing.delete_pools(platform.database, caller.account, pool_ids)
    return json_response({})


@router.delete("/nodePools/{pool_id}", **documented(answer=Empty))
@needs(Need.ADMIN)
def delete_node_pool(request: Request, pool_id: str, platform: PlatformDep) -> Response:
    """Delete a pool in which no job lives, with its nodes and bindings."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    changing.delete_pools(platform.database, caller.account, [pool_id])
    return json_response({})


def _answer(platform: Platform, caller: Caller, pool: PoolRecord) -> NodePoolRead:
    return node_pool(pool, reading.read_stats(platform.database, caller, [pool])[pool.row])


def _refuse(caller: Caller, fields: dict[str, Any], faults: Faults) -> None:
    """Raise what is wrong with a new or changed pool."""
    if faults:
        raise InvalidArgument(faults)
    refuse_unserved(fields)
    if fields.get("offeredToAll") and not caller.is_operator:
        raise PermissionDenied("offeredToAll: only the account that runs the platform may offer a pool to all")


def _not_named_yet(faults: Faults, violations: Iterable[FieldViolation]) -> Faults:
    """A field that could not be read looks as if it were missing; that is not a second fault."""
    named = {fault.field for fault in faults}
    return [violation for violation in violations if violation.field not in named]


def _below(path: str, violations: Iterable[FieldViolation]) -> Iterable[FieldViolation]:
    return (FieldViolation(f"{path}.{each.field}", each.description) for each in violations)
