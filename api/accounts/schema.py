"""An Account on the wire, in and out. Its bounds are ours: 0 or "" is "as the platform's settings say"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from api.users.schema import StatusRead
from api.wire.proto_json import BOOL, INT32, STRING, message
from api.wire.quantities import bytes_kind, format_bytes
from api.wire.times import format_time
from core.accounts import AccountRecord
from core.settings import MAX_RETENTION_DAYS

OUTPUT_ONLY = frozenset({"name", "createTime", "updateTime", "state", "status", "isOperator", "adminApiKey"})
#: What an account's own admins may change, and what only the operator's may.
OWN = {"displayName": STRING, "email": STRING}
BOUNDS = {
    "mayOwnNodes": BOOL,
    "maxLiveJobs": INT32,
    "maxLiveRanks": INT32,
    "retentionDays": INT32,
    "retentionSize": bytes_kind(0, 1 << 60),
}
MUTABLE = {**OWN, **BOUNDS}
MUTABLE_ZERO: dict[str, Any] = {
    "displayName": "",
    "email": "",
    "mayOwnNodes": False,
    "maxLiveJobs": 0,
    "maxLiveRanks": 0,
    "retentionDays": 0,
    "retentionSize": 0,
}
#: 0 is "not set", and each has a most.
QUOTAS = {
    "maxLiveJobs": 2**31 - 1,
    "maxLiveRanks": 2**31 - 1,
    "retentionDays": MAX_RETENTION_DAYS,
    "retentionSize": 1 << 60,
}
NEW_ACCOUNT = message({"account": message(MUTABLE, ignored=OUTPUT_ONLY), "accountId": STRING})

_COLUMNS = {
    "displayName": "display_name",
    "email": "email",
    "mayOwnNodes": "may_own_nodes",
    "maxLiveJobs": "max_live_jobs",
    "maxLiveRanks": "max_live_ranks",
    "retentionDays": "retention_days",
    "retentionSize": "retention_bytes",
}


class AccountRead(TypedDict):
    """Fields of the reference, and ours after them."""

    name: str
    displayName: str
    createTime: str | None
    email: str
    state: Literal["READY"]
    status: StatusRead
    updateTime: str | None
    isOperator: bool
    mayOwnNodes: bool
    maxLiveJobs: int
    maxLiveRanks: int
    retentionDays: int
    retentionSize: str


class NewAccountRead(AccountRead):
    """With the key of its first admin, which is shown this once."""

    adminApiKey: NotRequired[str]


class AccountList(TypedDict):
    accounts: list[AccountRead]
    nextPageToken: str
    totalSize: int


def stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Wire fields as `core.accounts` names and keeps them."""
    return {_COLUMNS[name]: (value or None) if name in QUOTAS else value for name, value in fields.items()}


def account(record: AccountRecord) -> AccountRead:
    """A stored account on the wire."""
    return {
        "name": f"accounts/{record.id}",
        "displayName": record.display_name,
        "createTime": format_time(record.created_at),
        "email": record.email,
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "updateTime": format_time(record.updated_at),
        "isOperator": record.is_operator,
        "mayOwnNodes": record.may_own_nodes,
        "maxLiveJobs": record.max_live_jobs or 0,
        "maxLiveRanks": record.max_live_ranks or 0,
        "retentionDays": record.retention_days or 0,
        "retentionSize": format_bytes(record.retention_bytes),
    }


def new_account(record: AccountRecord, admin_key: str) -> NewAccountRead:
    """The one answer that has the first admin's key."""
    return {**account(record), "adminApiKey": admin_key}
