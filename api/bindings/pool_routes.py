"""Bindings of node pools: a pool without any is open to its account."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.bindings.schemas import POOL_BINDING, PoolBindingList, PoolBindingRead, pool_binding, read_pool_binding
from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.query import read_query
from core import bindings
from core.bindings import POOL_BINDING_LISTING

router = APIRouter()

_LIST = ListSchema("nodePoolBindings", POOL_BINDING_LISTING, PoolBindingRead)


@router.post("/nodePoolBindings", **documented(answer=PoolBindingRead, body=POOL_BINDING, required=["principal"]))
@needs(Need.ADMIN)
def create_pool_binding(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Let a principal use a pool. The first binding of a pool closes it to everyone else but admins."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    principal, pool = read_pool_binding(load_json(json_text(request, body)))
    return json_response(pool_binding(bindings.bind_pool(platform.database, caller.account, principal, pool)))


@router.get("/nodePoolBindings", **documented(answer=PoolBindingList, query=_LIST.parameters, errors=[403]))
@needs(Need.ADMIN)
def list_pool_bindings(request: Request, platform: PlatformDep) -> Response:
    """The bindings of the account's own pools, by pool where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account)
    page = bindings.list_pool_bindings(platform.database, caller.account, asked.query)
    return json_response(asked.answer(map(pool_binding, page.items), page))


@router.post("/nodePoolBindings:delete", **documented(answer=Empty, body=POOL_BINDING, required=["principal"]))
@needs(Need.ADMIN)
def delete_pool_binding(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Take a binding away: the one named, or the principal's only one."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    principal, pool = read_pool_binding(load_json(json_text(request, body)))
    bindings.unbind_pool(platform.database, caller.account, principal, pool)
    return json_response({})
