"""The reference's calls for keys, which are under a user: create, list, delete by a body."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.api_keys.routes import LIST, listed, make
from api.api_keys.schema import KEY_ID, WRAPPED_API_KEY, ApiKeyList, NewApiKeyRead
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.users.rules import display_name_violations
from api.wire.json_text import load_json
from api.wire.proto_json import Faults
from api.wire.query import read_query
from core.accounts import Caller
from core.api_keys import get_key, key_not_found, revoke_key
from core.errors import FieldViolation, InvalidArgument, PermissionDenied
from core.users import UserRecord, get_user

router = APIRouter()


@router.post(
    "/users/{user_id}/apiKeys",
    **documented(answer=NewApiKeyRead, body=WRAPPED_API_KEY, required=["apiKey"], errors=[403]),
)
@needs(Need.OWNER_OR_ADMIN)
def post_api_key_of_user(request: Request, user_id: str, platform: PlatformDep, body: Body) -> Response:
    """A new key of the user. The answer alone ever has the key."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    given = WRAPPED_API_KEY.read(load_json(json_text(request, body)), "", faults)
    wrapped = given.get("apiKey") if isinstance(given, dict) else None
    if isinstance(wrapped, dict):
        faults += display_name_violations("apiKey.displayName", wrapped.get("displayName", ""))
    elif not faults:
        faults.append(FieldViolation("apiKey", "is required"))
    if faults or not isinstance(wrapped, dict):
        raise InvalidArgument(faults)
    return make(platform, caller, _user_for(platform, caller, user_id).user_id, wrapped)


@router.get("/users/{user_id}/apiKeys", **documented(answer=ApiKeyList, query=LIST.parameters, errors=[403]))
@needs(Need.OWNER_OR_ADMIN)
def get_api_keys_of_user(request: Request, user_id: str, platform: PlatformDep) -> Response:
    """The user's keys that are not revoked, oldest first."""
    caller = caller_in_account(request, platform)
    return listed(request, platform, caller, _user_for(platform, caller, user_id).row)


@router.post(
    "/users/{user_id}/apiKeys:delete", **documented(answer=Empty, body=KEY_ID, required=["keyId"], errors=[403])
)
@needs(Need.OWNER_OR_ADMIN)
def delete_api_key_of_user(request: Request, user_id: str, platform: PlatformDep, body: Body) -> Response:
    """Revoke one of the user's keys: within a second it opens nothing."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    given = KEY_ID.read(load_json(json_text(request, body)), "", faults)
    if not faults and not given.get("keyId"):
        faults.append(FieldViolation("keyId", "is required"))
    if faults:
        raise InvalidArgument(faults)
    owner = _user_for(platform, caller, user_id)
    key_id: str = given["keyId"]
    if get_key(platform.database, caller.account, key_id).user_row != owner.row:
        raise key_not_found(caller.account, key_id)
    revoke_key(platform.database, caller.account, key_id)
    platform.authentication.ask_again()
    return json_response({})


def _user_for(platform: Platform, caller: Caller, user_id: str) -> UserRecord:
    """The path's user, who must be the caller unless he is an admin. Raises NotFound, PermissionDenied."""
    found = get_user(platform.database, caller.account, user_id)
    if not caller.is_admin and found.row != caller.user_row:
        raise PermissionDenied("only admins of the account may do this for others")
    return found
