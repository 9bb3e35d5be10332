"""Create, list, get, update, delete. The operator's admins name any account here, everyone else his own.

This is all that the operator reaches of another account: its jobs, users, keys and secrets answer him 404.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from api.accounts.schema import (
    BOUNDS,
    MUTABLE,
    MUTABLE_ZERO,
    NEW_ACCOUNT,
    OUTPUT_ONLY,
    OWN,
    QUOTAS,
    AccountList,
    AccountRead,
    NewAccountRead,
    account,
    new_account,
    stored,
)
from api.dependencies import PlatformDep, caller_of_platform
from api.needs import Need, is_operators_admin, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.users.rules import display_name_violations, email_violations
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from api.wire.resource_ids import id_violations
from api.wire.updates import read_update, update_schema
from core.accounts import LISTING, Caller, get_account, list_accounts, update_account
from core.enrolment import create_account, delete_account
from core.errors import FieldViolation, InvalidArgument, PermissionDenied

router = APIRouter(prefix="/v1", tags=["accounts"])

_LIST = ListSchema("accounts", LISTING, AccountRead)
_GET_QUERY = {"readMask": read_mask_parameter(AccountRead)}
_UPDATE_QUERY = {"updateMask": wire_query.TEXT}


@router.post(
    "/accounts",
    **documented(answer=NewAccountRead, body=NEW_ACCOUNT, required=["account", "accountId"], errors=[403, 409]),
)
@needs(Need.OPERATOR)
def post_account(request: Request, platform: PlatformDep, body: Body) -> Response:
    """A new account with its first admin, whose key is in this answer alone."""
    caller_of_platform(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    given = NEW_ACCOUNT.read(load_json(json_text(request, body)), "", faults)
    if isinstance(given, dict):
        bad = {fault.field for fault in faults}
        rules = [*id_violations("accountId", given.get("accountId", "")), *_new_violations(given)]
        faults += [each for each in rules if each.field not in bad]
    if faults:
        raise InvalidArgument(faults)
    values = stored(given["account"])
    email = values.pop("email")
    return json_response(new_account(*create_account(platform.database, given["accountId"], values, email=email)))


@router.get("/accounts", **documented(answer=AccountList, query=_LIST.parameters))
@needs(Need.ANYONE)
def get_accounts(request: Request, platform: PlatformDep) -> Response:
    """All accounts to the operator's admins, to everyone else his own."""
    caller = caller_of_platform(request, platform)
    only = None if is_operators_admin(caller) else caller.account
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account, only)
    page = list_accounts(platform.database, asked.query, only=only)
    return json_response(asked.answer(map(account, page.items), page))


@router.get("/accounts/{account_id}", **documented(answer=AccountRead, query=_GET_QUERY))
@needs(Need.READ_OR_OPERATOR)
def get_one_account(request: Request, account_id: str, platform: PlatformDep) -> Response:
    """One account."""
    caller_of_platform(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    return json_response(query["readMask"].apply(account(get_account(platform.database, account_id))))


@router.patch(
    "/accounts/{account_id}",
    **documented(answer=AccountRead, query=_UPDATE_QUERY, body_schema=update_schema(MUTABLE), errors=[403]),
)
@needs(Need.ADMIN_OR_OPERATOR)
def patch_account(request: Request, account_id: str, platform: PlatformDep, body: Body) -> Response:
    """Change name and e-mail, as its own admin, or what it may have, as an admin of the operator."""
    caller = caller_of_platform(request, platform)
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
    faults += _violations(changes, "")
    if "email" in changes:
        faults += email_violations("email", changes["email"])
    if faults:
        raise InvalidArgument(faults)
    get_account(platform.database, account_id)
    _refuse_others_fields(caller, account_id, changes)
    record = update_account(platform.database, account_id, stored(changes))
    platform.authentication.ask_again()
    return json_response(account(record))


@router.delete("/accounts/{account_id}", **documented(answer=Empty, errors=[403]))
@needs(Need.OPERATOR)
def remove_account(request: Request, account_id: str, platform: PlatformDep) -> Response:
    """Remove an account that has no jobs, pools or nodes, with its users, keys and secrets."""
    caller_of_platform(request, platform)
    read_query(request.query_params.multi_items(), {})
    delete_account(platform.database, account_id)
    platform.authentication.ask_again()
    return json_response({})


def _new_violations(given: Mapping[str, Any]) -> Iterator[FieldViolation]:
    fields = given.get("account")
    if not isinstance(fields, dict):
        yield FieldViolation("account", "is required")
        return
    yield from _violations(fields, "account.")
    yield from email_violations("account.email", fields.get("email", ""))


def _violations(fields: Mapping[str, Any], path: str) -> Iterator[FieldViolation]:
    yield from display_name_violations(f"{path}displayName", fields.get("displayName", ""))
    for name, most in QUOTAS.items():
        if fields.get(name, 0) < 0:
            yield FieldViolation(f"{path}{name}", "must be at least 1, or 0 for what the platform's settings say")
        elif fields.get(name, 0) > most:
            yield FieldViolation(f"{path}{name}", f"must be at most {most}")


def _refuse_others_fields(caller: Caller, account_id: str, changes: Mapping[str, Any]) -> None:
    """Raise PermissionDenied naming the fields that are not this admin's to change."""
    refused = [] if is_operators_admin(caller) else [name for name in changes if name in BOUNDS]
    if refused:
        raise PermissionDenied(f"only admins of the platform's operator may change {', '.join(refused)}")
    refused = [] if account_id == caller.account else [name for name in changes if name in OWN]
    if refused:
        raise PermissionDenied(f"only admins of the account itself may change {', '.join(refused)}")
