"""A User on the wire, in and out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from api.openapi.values import names_of
from api.wire.proto_json import BOOL, STRING, UNREADABLE, Faults, Kind, message
from api.wire.times import format_time
from core.errors import FieldViolation
from core.users import ROLES, UserRecord

OUTPUT_ONLY = frozenset({"name", "createTime", "updateTime", "state", "status"})


def _read_role(value: object, path: str, faults: Faults) -> Any:
    if value in ROLES:
        return value
    faults.append(FieldViolation(path, f"must be {' or '.join(ROLES)}"))
    return UNREADABLE


ROLE = Kind(_read_role, {"type": "string", "enum": list(ROLES)})
MUTABLE = {"displayName": STRING, "role": ROLE}
MUTABLE_ZERO: dict[str, Any] = {"displayName": "", "role": ""}
IMMUTABLE = frozenset({"email", "serviceAccount"})
USER = message({**MUTABLE, "email": STRING, "serviceAccount": BOOL}, ignored=OUTPUT_ONLY)


class StatusRead(TypedDict):
    code: Literal["OK"]
    message: str


class UserRead(TypedDict):
    name: str
    displayName: str
    serviceAccount: bool
    createTime: str | None
    role: Annotated[str, names_of(*ROLES)]
    email: str
    state: Literal["READY"]
    status: StatusRead
    updateTime: str | None


class UserList(TypedDict):
    users: list[UserRead]
    nextPageToken: str
    totalSize: int


def user(record: UserRecord) -> UserRead:
    """A stored user on the wire."""
    return {
        "name": f"accounts/{record.account}/users/{record.user_id}",
        "displayName": record.display_name,
        "serviceAccount": False,
        "createTime": format_time(record.created_at),
        "role": record.role,
        "email": record.email,
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "updateTime": format_time(record.updated_at),
    }
