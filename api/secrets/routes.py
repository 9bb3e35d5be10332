"""Create, get, list, update, delete. Everyone in the account may make and see secrets; no one sees a value."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.secrets.schemas import (
    MUTABLE,
    MUTABLE_ZERO,
    OUTPUT_ONLY,
    SECRET,
    SecretList,
    SecretRead,
    chosen_id,
    key_name_violations,
    secret,
    value_violations,
)
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from api.wire.resource_ids import is_resource_id
from api.wire.updates import read_update, update_schema
from core.accounts import Caller
from core.errors import InvalidArgument, PermissionDenied
from core.sealing import SealingKeys, sealing_keys
from core.secrets import (
    LISTING,
    SecretRecord,
    create_secret,
    delete_secret,
    edit_secret,
    get_secret,
    list_secrets,
    secret_not_found,
)

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["secrets"])

_CREATE_QUERY = {"secretId": wire_query.TEXT}
_GET_QUERY = {"readMask": read_mask_parameter(SecretRead)}
_LIST = ListSchema("secrets", LISTING, SecretRead)
_UPDATE_QUERY = {"updateMask": wire_query.TEXT}


@router.post(
    "/secrets",
    **documented(answer=SecretRead, query=_CREATE_QUERY, body=SECRET, required=["keyName", "value"], errors=[409]),
)
@needs(Need.USER)
def create(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Keep a value."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _CREATE_QUERY)
    faults: Faults = []
    given = SECRET.read(load_json(json_text(request, body)), "", faults)
    if not isinstance(given, dict):
        raise InvalidArgument(faults)
    key_name, value = given.get("keyName", ""), given.get("value", "")
    secret_id = chosen_id(caller.account, given.get("name", ""), query["secretId"], key_name, faults)
    # A field that could not be read looks as if it were missing; that is not a second fault.
    named = {fault.field for fault in faults}
    found = [*key_name_violations(key_name), *value_violations(value)]
    faults += [violation for violation in found if violation.field not in named]
    if faults:
        raise InvalidArgument(faults)
    made = create_secret(
        platform.database,
        _keys(platform),
        caller.account,
        secret_id,
        key_name=key_name,
        value=value,
        created_by=caller.email,
    )
    return json_response(secret(made))


@router.get("/secrets", **documented(answer=SecretList, query=_LIST.parameters))
@needs(Need.READ)
def list_all(request: Request, platform: PlatformDep) -> Response:
    """The account's secrets, by name where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account)
    page = list_secrets(platform.database, caller.account, asked.query)
    return json_response(asked.answer(map(secret, page.items), page))


@router.get("/secrets/{secret_id}", **documented(answer=SecretRead, query=_GET_QUERY))
@needs(Need.READ)
def get(request: Request, secret_id: str, platform: PlatformDep) -> Response:
    """One secret, its value left out."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    return json_response(query["readMask"].apply(secret(_find(platform, caller, secret_id))))


@router.patch(
    "/secrets/{secret_id}",
    **documented(answer=SecretRead, query=_UPDATE_QUERY, body_schema=update_schema(MUTABLE), errors=[403]),
)
@needs(Need.OWNER_OR_ADMIN)
def update(request: Request, secret_id: str, platform: PlatformDep, body: Body) -> Response:
    """Change the value, which jobs get from their next launch on, or what it is called."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _UPDATE_QUERY)
    faults: Faults = []
    changes = read_update(
        load_json(json_text(request, body)),
        query["updateMask"],
        faults,
        mutable=MUTABLE,
        zero=MUTABLE_ZERO,
        output_only=OUTPUT_ONLY,
    )
    if not query["updateMask"].strip() and not changes.get("value"):
        # What a client got, with another field changed: the value that it was not shown is not to be lost.
        changes.pop("value", None)
    if "keyName" in changes:
        faults += key_name_violations(changes["keyName"])
    if "value" in changes:
        faults += value_violations(changes["value"])
    if faults:
        raise InvalidArgument(faults)
    _refuse_unless_theirs(caller, _find(platform, caller, secret_id))
    changed = edit_secret(
        platform.database,
        _keys(platform),
        caller.account,
        secret_id,
        key_name=changes.get("keyName"),
        value=changes.get("value"),
    )
    return json_response(secret(changed))


@router.delete("/secrets/{secret_id}", **documented(answer=Empty, errors=[403]))
@needs(Need.OWNER_OR_ADMIN)
def delete(request: Request, secret_id: str, platform: PlatformDep) -> Response:
    """Remove a secret; a job that names it and has not been launched will fail."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    _refuse_unless_theirs(caller, _find(platform, caller, secret_id))
    delete_secret(platform.database, caller.account, secret_id)
    return json_response({})


def _find(platform: Platform, caller: Caller, secret_id: str) -> SecretRecord:
    if not is_resource_id(secret_id):
        raise secret_not_found(caller.account, secret_id)
    return get_secret(platform.database, caller.account, secret_id)


def _refuse_unless_theirs(caller: Caller, record: SecretRecord) -> None:
    if not caller.is_admin and record.created_by != caller.email:
        raise PermissionDenied("only its creator and account admins may change a secret")


def _keys(platform: Platform) -> SealingKeys:
    return sealing_keys(platform.settings.secret_keys_file)
