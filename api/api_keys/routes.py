"""Create, list, get, delete under the account: admins all of its keys, users their own.

To a user the keys of others are not there, as those of another account are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from api.api_keys.schema import (
    API_KEY,
    DEFAULT_NAME,
    ApiKeyList,
    ApiKeyRead,
    NewApiKeyRead,
    api_key,
    new_api_key,
)
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.users.rules import display_name_violations
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from core.accounts import Caller
from core.api_keys import (
    LISTING,
    ApiKeyRecord,
    create_key,
    get_key,
    key_not_found,
    list_keys,
    revoke_key,
)
from core.errors import InvalidArgument, NotFound, PermissionDenied
from core.users import UserRecord, find_user_by_email, get_user

router = APIRouter()

LIST = ListSchema("apiKeys", LISTING, ApiKeyRead)
_GET_QUERY = {"readMask": read_mask_parameter(ApiKeyRead)}


@router.post("/apiKeys", **documented(answer=NewApiKeyRead, body=API_KEY, errors=[403]))
@needs(Need.OWNER_OR_ADMIN)
def post_api_key(request: Request, platform: PlatformDep, body: Body) -> Response:
    """A new key for the caller, or for another user where an admin asks. The answer alone ever has the key."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    given = API_KEY.read(load_json(json_text(request, body)), "", faults)
    if isinstance(given, dict):
        faults += display_name_violations("displayName", given.get("displayName", ""))
    if faults:
        raise InvalidArgument(faults)
    whose = given.get("user", "")
    return make(platform, caller, _owner(platform, caller, whose) if whose else caller.user_id, given)


@router.get("/apiKeys", **documented(answer=ApiKeyList, query=LIST.parameters))
@needs(Need.READ)
def get_api_keys(request: Request, platform: PlatformDep) -> Response:
    """The account's keys that are not revoked, or the caller's own; oldest first."""
    caller = caller_in_account(request, platform)
    return listed(request, platform, caller, None if caller.is_admin else caller.user_row)


@router.get("/apiKeys/{key_id}", **documented(answer=ApiKeyRead, query=_GET_QUERY))
@needs(Need.OWNER_OR_ADMIN_HIDDEN)
def get_api_key(request: Request, key_id: str, platform: PlatformDep) -> Response:
    """One key, without its secret."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    return json_response(query["readMask"].apply(api_key(_visible(platform, caller, key_id))))


@router.delete("/apiKeys/{key_id}", **documented(answer=Empty))
@needs(Need.OWNER_OR_ADMIN_HIDDEN)
def delete_api_key(request: Request, key_id: str, platform: PlatformDep) -> Response:
    """Revoke a key: within a second it opens nothing. A key may revoke itself."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    _visible(platform, caller, key_id)
    revoke_key(platform.database, caller.account, key_id)
    platform.authentication.ask_again()
    return json_response({})


def make(platform: Platform, caller: Caller, user_id: str, given: Mapping[str, Any]) -> Response:
    """A new key for a user of the caller's account, and the answer that shows it. Raises NotFound."""
    record, key = create_key(
        platform.database,
        caller.account,
        user_id,
        display_name=given.get("displayName") or DEFAULT_NAME,
        expires_at=given.get("expireTime"),
    )
    return json_response(new_api_key(record, key))


def listed(request: Request, platform: Platform, caller: Caller, user_row: int | None) -> Response:
    """A page of the account's keys, or of one user's."""
    asked = read_list(request.query_params.multi_items(), LIST, caller.account, user_row)
    page = list_keys(platform.database, caller.account, asked.query, user_row=user_row)
    return json_response(asked.answer(map(api_key, page.items), page))


def _owner(platform: Platform, caller: Caller, whose: str) -> str:
    """The id of the user that a body names by id or by e-mail. Raises InvalidArgument, PermissionDenied."""
    found: UserRecord | None
    if "@" in whose:
        found = find_user_by_email(platform.database, caller.account, whose)
    else:
        try:
            found = get_user(platform.database, caller.account, whose)
        except NotFound:
            found = None
    if not caller.is_admin and (found is None or found.row != caller.user_row):
        raise PermissionDenied("only admins of the account may make keys for others")
    if found is None:
        raise InvalidArgument.field("user", "is neither the id nor the e-mail of a user of the account")
    return found.user_id


def _visible(platform: Platform, caller: Caller, key_id: str) -> ApiKeyRecord:
    record = get_key(platform.database, caller.account, key_id)
    if not caller.is_admin and record.user_row != caller.user_row:
        raise key_not_found(caller.account, key_id)
    return record
