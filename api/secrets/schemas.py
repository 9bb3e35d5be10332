"""A Secret on the wire, in and out, and the rules that it must meet. No route lives here."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from api.wire.proto_json import STRING, Faults, message
from api.wire.resource_ids import MAX_LENGTH, id_violations
from api.wire.times import format_time
from core.errors import FieldViolation
from core.secrets import MAX_VALUE_BYTES, SecretRecord, secret_name

MAX_KEY_NAME = 255

#: What PATCH may change, and what each becomes when it is reset.
MUTABLE = {"keyName": STRING, "value": STRING}
MUTABLE_ZERO: Mapping[str, Any] = {"keyName": "", "value": ""}
OUTPUT_ONLY = frozenset({"createTime", "updateTime", "createdBy"})
#: `name` is how a client of the reference chooses the id; ours is the query parameter `secretId`.
SECRET = message({"name": STRING, **MUTABLE}, ignored=OUTPUT_ONLY)


class SecretRead(TypedDict):
    """`value` is input only and always empty; the times and the creator are ours."""

    name: str
    keyName: str
    value: str
    createTime: str
    updateTime: str
    createdBy: str


class SecretList(TypedDict):
    secrets: list[SecretRead]
    nextPageToken: str
    totalSize: int


def secret(record: SecretRecord) -> SecretRead:
    """A stored secret on the wire."""
    return {
        "name": secret_name(record.account, record.secret_id),
        "keyName": record.key_name,
        "value": "",
        "createTime": format_time(record.created_at),
        "updateTime": format_time(record.updated_at),
        "createdBy": record.created_by,
    }


def key_name_violations(key_name: str) -> list[FieldViolation]:
    """A key's name is any text that is not empty and not long."""
    if not key_name:
        return [FieldViolation("keyName", "is required")]
    if len(key_name) > MAX_KEY_NAME:
        return [FieldViolation("keyName", f"must be of at most {MAX_KEY_NAME} characters")]
    return []


def value_violations(value: str) -> list[FieldViolation]:
    """Nothing is said back of a value, its length included."""
    if not value:
        return [FieldViolation("value", "is required")]
    if len(value.encode()) > MAX_VALUE_BYTES:
        return [FieldViolation("value", f"must be of at most {MAX_VALUE_BYTES:,} bytes in UTF-8")]
    return []


def chosen_id(account: str, name: str, asked: str, key_name: str, faults: Faults) -> str:
    """The id of a new secret: `secretId`, or the last part of `name`, or one made of the key's name."""
    prefix = secret_name(account, "")
    named = ""
    if name:
        named = name.removeprefix(prefix) if name.startswith(prefix) else ""
        if id_violations("name", named):
            faults.append(FieldViolation("name", f"must be {prefix} and an id, or be left out"))
    if asked:
        faults += id_violations("secretId", asked)
        if named and named != asked:
            faults.append(FieldViolation("secretId", "is not the id that `name` ends with"))
    return asked or named or id_of(key_name)


def id_of(key_name: str) -> str:
    """A key's name in small letters with dashes (`DB_PASSWORD` → `db-password`), if there is a letter in it."""
    made = re.sub(r"[^a-z0-9]+", "-", key_name.lower()).strip("-")
    if not made[:1].isalpha():
        made = f"secret-{made or secrets.token_hex(4)}"
    return made[:MAX_LENGTH].strip("-")
