"""Rules of a job's environment variables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from api.wire.proto_json import key_path
from core.errors import FieldViolation
from core.spec import RESERVED_ENV_NAMES, RESERVED_ENV_PREFIX


def environment_violations(env_vars: Mapping[str, str], max_bytes: int) -> Iterator[FieldViolation]:
    """Every variable that cannot be set, or may not; `max_bytes` is the longest `NAME=value`."""
    for name, value in env_vars.items():
        fault = _name_fault(name)
        if not fault and len(name.encode()) + len(value.encode()) + 1 > max_bytes:
            fault = f"name, = and value must be of at most {max_bytes:,} bytes together"
        if fault:
            yield FieldViolation(key_path("envVars", name), fault)


def _name_fault(name: str) -> str:
    if not name:
        return "a variable's name must not be empty"
    if "=" in name:
        return "a variable's name must not hold ="
    if name in RESERVED_ENV_NAMES or name.startswith(RESERVED_ENV_PREFIX):
        return "is set by the platform for every rank and may not be given"
    return ""
