"""An ApiKey on the wire, in and out. `key` itself is in one answer only: that of its creation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NotRequired

from typing_extensions import TypedDict

from api.wire.proto_json import STRING, UNREADABLE, Faults, Kind, message
from api.wire.times import format_time, from_microseconds, parse_time_ns
from core.api_keys import ApiKeyRecord
from core.errors import FieldViolation
from core.key_format import shown_prefix

#: What the reference calls a key that nobody named.
DEFAULT_NAME = "default"


def _read_future_time(value: object, path: str, faults: Faults) -> Any:
    problem = "must be in the future"
    try:
        moment = from_microseconds(parse_time_ns(value if isinstance(value, str) else "") // 1000)
    except ValueError as error:
        problem = str(error)
    except OverflowError:
        problem = "must be before the year 10000"
    else:
        if moment > datetime.now(UTC):
            return moment
    faults.append(FieldViolation(path, problem))
    return UNREADABLE


FUTURE_TIME = Kind(_read_future_time, {"type": "string", "format": "date-time"})

OUTPUT_ONLY = frozenset({"name", "keyId", "key", "prefix", "createTime", "lastUsedTime", "email", "secure"})
_FIELDS = {"displayName": STRING, "expireTime": FUTURE_TIME}
API_KEY = message({**_FIELDS, "user": STRING}, ignored=OUTPUT_ONLY)
#: The reference's form, below a user: the path says whose it is.
WRAPPED_API_KEY = message({"apiKey": message(_FIELDS, ignored=OUTPUT_ONLY | {"user"})})
KEY_ID = message({"keyId": STRING})


class ApiKeyRead(TypedDict):
    name: str
    keyId: str
    displayName: str
    createTime: str | None
    secure: bool
    email: str
    prefix: str
    expireTime: str | None
    lastUsedTime: str | None
    user: str


class NewApiKeyRead(ApiKeyRead):
    """With the key, which is shown this once."""

    key: NotRequired[str]


class ApiKeyList(TypedDict):
    apiKeys: list[ApiKeyRead]
    nextPageToken: str
    totalSize: int


def api_key(record: ApiKeyRecord) -> ApiKeyRead:
    """A stored key on the wire, without any part of its secret."""
    return {
        "name": f"accounts/{record.account}/apiKeys/{record.key_id}",
        "keyId": record.key_id,
        "displayName": record.display_name,
        "createTime": format_time(record.created_at),
        "secure": True,
        "email": record.email,
        "prefix": shown_prefix(record.key_id),
        "expireTime": _time_or_null(record.expires_at),
        "lastUsedTime": _time_or_null(record.last_used_at),
        "user": record.user_id,
    }


def new_api_key(record: ApiKeyRecord, key: str) -> NewApiKeyRead:
    """The one answer that has the key."""
    return {**api_key(record), "key": key}


def _time_or_null(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
