"""Bindings as requests give them and as they are answered, and what a principal and a role must be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typing_extensions import TypedDict

from api.node_pools.rules import name_violations
from api.wire.proto_json import STRING, Faults, Kind, message
from api.wire.resource_ids import is_resource_id
from api.wire.times import format_time
from core.bindings import PoolBinding, RoleGrant
from core.errors import FieldViolation, InvalidArgument

_POOL_OUTPUT_ONLY = frozenset({"accountId", "clusterId", "createTime"})
_ROLE_OUTPUT_ONLY = frozenset({"accountId", "createTime"})
POOL_BINDING = message({"principal": STRING, "nodePoolId": STRING}, ignored=_POOL_OUTPUT_ONLY)
ROLE_BINDING = message({"principal": STRING, "role": STRING}, ignored=_ROLE_OUTPUT_ONLY)

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f/]{1,64}@[^\s@\x00-\x1f\x7f/]{1,255}")
_ACCOUNT = "accounts/"


class PoolBindingRead(TypedDict):
    """Every field of the reference. `clusterId` is the reference's, and always empty."""

    principal: str
    accountId: str
    clusterId: str
    nodePoolId: str
    createTime: str | None


class PoolBindingList(TypedDict):
    nodePoolBindings: list[PoolBindingRead]
    nextPageToken: str
    totalSize: int


class RoleBindingRead(TypedDict):
    accountId: str
    createTime: str | None
    principal: str
    role: str


class RoleBindingList(TypedDict):
    awsIamRoleBindings: list[RoleBindingRead]
    nextPageToken: str
    totalSize: int


def read_pool_binding(body: object) -> tuple[str, str]:
    """Principal and pool, "" where none is named. Raises InvalidArgument."""
    given, faults = _read(POOL_BINDING, body)
    faults += _not_named_yet(faults, _principal_violations(given.get("principal", "")))
    pool = given.get("nodePoolId", "")
    if pool and not is_resource_id(pool):
        faults.append(FieldViolation("nodePoolId", "is not the id of a node pool"))
    if faults:
        raise InvalidArgument(faults)
    return given["principal"].lower(), pool


def read_role_binding(body: object) -> tuple[str, str]:
    """Principal and role. Raises InvalidArgument."""
    given, faults = _read(ROLE_BINDING, body)
    faults += _not_named_yet(faults, _principal_violations(given.get("principal", "")))
    faults += _not_named_yet(faults, name_violations("role", given.get("role", "")))
    if faults:
        raise InvalidArgument(faults)
    return given["principal"].lower(), given["role"]


def pool_binding(binding: PoolBinding) -> PoolBindingRead:
    """A stored binding on the wire."""
    return {
        "principal": binding.principal,
        "accountId": binding.account,
        "clusterId": "",
        "nodePoolId": binding.pool,
        "createTime": format_time(binding.created_at),
    }


def role_binding(binding: RoleGrant) -> RoleBindingRead:
    """A stored binding on the wire."""
    return {
        "accountId": binding.account,
        "createTime": format_time(binding.created_at),
        "principal": binding.principal,
        "role": binding.role,
    }


def _read(kind: Kind, body: object) -> tuple[dict[str, Any], Faults]:
    faults: Faults = []
    given = kind.read(body, "", faults)
    if not isinstance(given, dict):
        raise InvalidArgument(faults)
    return given, faults


def _principal_violations(principal: str) -> Iterator[FieldViolation]:
    account = principal.removeprefix(_ACCOUNT)
    if account == principal:
        if _EMAIL.fullmatch(principal) is None:
            yield FieldViolation("principal", "must be a user's e-mail, or accounts/ and an account's id")
    elif not is_resource_id(account):
        yield FieldViolation("principal", "is not accounts/ and an account's id")


def _not_named_yet(faults: Faults, violations: Iterator[FieldViolation]) -> Faults:
    named = {fault.field for fault in faults}
    return [violation for violation in violations if violation.field not in named]
