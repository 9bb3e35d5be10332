"""Create, list, get, update, delete. Everyone of the account may read; admins change."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.users.rules import display_name_violations, email_violations
from api.users.schema import IMMUTABLE, MUTABLE, MUTABLE_ZERO, OUTPUT_ONLY, USER, UserList, UserRead, user
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from api.wire.resource_ids import id_violations
from api.wire.updates import read_update, update_schema
from core.errors import FieldViolation, InvalidArgument, NotImplementedYet, PermissionDenied
from core.users import LISTING, create_user, delete_user, get_user, list_users, update_user

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["users"])

_LIST = ListSchema("users", LISTING, UserRead)
_GET_QUERY = {"readMask": read_mask_parameter(UserRead)}
_CREATE_QUERY = {"userId": wire_query.TEXT}
_UPDATE_QUERY = {"updateMask": wire_query.TEXT}


@router.post(
    "/users",
    **documented(
        answer=UserRead, query=_CREATE_QUERY, body=USER, required=["email", "role"], errors=[403, 409, 501]
    ),
)
@needs(Need.ADMIN)
def post_user(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Add a user to the account; he has no key yet."""
    caller = caller_in_account(request, platform)
    user_id = read_query(request.query_params.multi_items(), _CREATE_QUERY)["userId"]
    faults: Faults = id_violations("userId", user_id) if user_id else []
    given = USER.read(load_json(json_text(request, body)), "", faults)
    if isinstance(given, dict):
        bad = {fault.field for fault in faults}
        faults += [each for each in email_violations("email", given.get("email", "")) if "email" not in bad]
        faults += display_name_violations("displayName", given.get("displayName", ""))
        if "role" not in given and "role" not in bad:
            faults.append(FieldViolation("role", "is required: admin or user"))
    if faults:
        raise InvalidArgument(faults)
    if given.get("serviceAccount"):
        raise NotImplementedYet("not served yet: serviceAccount")
    record = create_user(
        platform.database,
        caller.account,
        email=given["email"],
        role=given["role"],
        display_name=given.get("displayName", ""),
        user_id=user_id,
    )
    return json_response(user(record))


@router.get("/users", **documented(answer=UserList, query=_LIST.parameters))
@needs(Need.READ)
def get_users(request: Request, platform: PlatformDep) -> Response:
    """The account's users, by name where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account)
    page = list_users(platform.database, caller.account, asked.query)
    return json_response(asked.answer(map(user, page.items), page))


@router.get("/users/{user_id}", **documented(answer=UserRead, query=_GET_QUERY))
@needs(Need.READ)
def get_one_user(request: Request, user_id: str, platform: PlatformDep) -> Response:
    """One user."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    return json_response(query["readMask"].apply(user(get_user(platform.database, caller.account, user_id))))


@router.patch(
    "/users/{user_id}",
    **documented(answer=UserRead, query=_UPDATE_QUERY, body_schema=update_schema(MUTABLE), errors=[403]),
)
@needs(Need.OWNER_OR_ADMIN)
def patch_user(request: Request, user_id: str, platform: PlatformDep, body: Body) -> Response:
    """Change name or role. Users who are no admins change their own name only; the last admin stays one."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _UPDATE_QUERY)
    faults: Faults = []
    changes = read_update(
        load_json(json_text(request, body)),
        query["updateMask"],
        faults,
        mutable=MUTABLE,
        zero=MUTABLE_ZERO,
        immutable=IMMUTABLE,
        output_only=OUTPUT_ONLY,
    )
    faults += display_name_violations("displayName", changes.get("displayName", ""))
    if changes.get("role") == "":
        faults.append(FieldViolation("role", "must be admin or user"))
    if faults:
        raise InvalidArgument(faults)
    found = get_user(platform.database, caller.account, user_id)
    if not caller.is_admin and (found.row != caller.user_row or "role" in changes):
        raise PermissionDenied("only admins of the account may do this; others may change their own displayName")
    record = update_user(
        platform.database,
        caller.account,
        user_id,
        display_name=changes.get("displayName"),
        role=changes.get("role"),
    )
    platform.authentication.ask_again()
    return json_response(user(record))


@router.delete("/users/{user_id}", **documented(answer=Empty, errors=[403]))
@needs(Need.ADMIN)
def remove_user(request: Request, user_id: str, platform: PlatformDep) -> Response:
    """Remove a user; his keys end, his jobs stay. The last admin cannot be removed."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    delete_user(platform.database, caller.account, user_id)
    platform.authentication.ask_again()
    return json_response({})
