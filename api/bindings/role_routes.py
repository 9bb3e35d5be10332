"""Bindings of roles: stored pairs. No job assumes a role yet."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.bindings.schemas import ROLE_BINDING, RoleBindingList, RoleBindingRead, read_role_binding, role_binding
from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.query import read_query
from core import bindings
from core.bindings import ROLE_BINDING_LISTING

router = APIRouter()

_LIST = ListSchema("awsIamRoleBindings", ROLE_BINDING_LISTING, RoleBindingRead)
_REQUIRED = ("principal", "role")


@router.post("/awsIamRoleBindings", **documented(answer=RoleBindingRead, body=ROLE_BINDING, required=_REQUIRED))
@needs(Need.ADMIN)
def create_role_binding(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Let a principal assume a role."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    principal, role = read_role_binding(load_json(json_text(request, body)))
    return json_response(role_binding(bindings.bind_role(platform.database, caller.account, principal, role)))


@router.get("/awsIamRoleBindings", **documented(answer=RoleBindingList, query=_LIST.parameters, errors=[403]))
@needs(Need.ADMIN)
def list_role_bindings(request: Request, platform: PlatformDep) -> Response:
    """The account's role bindings, by principal where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account)
    page = bindings.list_role_bindings(platform.database, caller.account, asked.query)
    return json_response(asked.answer(map(role_binding, page.items), page))


@router.post("/awsIamRoleBindings:delete", **documented(answer=Empty, body=ROLE_BINDING, required=_REQUIRED))
@needs(Need.ADMIN)
def delete_role_binding(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Take a role from a principal."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    principal, role = read_role_binding(load_json(json_text(request, body)))
    bindings.unbind_role(platform.database, caller.account, principal, role)
    return json_response({})
