"""Amounts of CPU and of bytes, as Kubernetes writes them: `500m`, `0.5`, `512Mi`, `2G`. Pure.

Read as numbers too. Written in one form: CPUs as a decimal number, bytes with the largest binary suffix that
divides them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from api.wire.proto_json import UNREADABLE, Faults, Kind
from core.errors import FieldViolation

_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_UNITS: Mapping[str, Decimal] = {"": Decimal(1), **{k: Decimal(v) for k, v in (_BINARY | _DECIMAL).items()}}
_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([A-Za-z]{0,2})", re.ASCII)
_MILLI = Decimal("0.001")

MIN_CPU, MAX_CPU = Decimal("0.01"), 1024
_CPU_RULE = f'must be {MIN_CPU} to {MAX_CPU} CPUs in thousandths, as 0.5, "0.5" or "500m"'
_BYTES_RULE = 'must be a number of bytes, as 1073741824, "512Mi" or "2Gi"'


def cpu_kind() -> Kind:
    """CPUs as a float; "" reads as 0, which is "not set"."""

    def read(value: object, path: str, faults: Faults) -> object:
        if value == "":
            return 0.0
        found = _decimal(value, {"": Decimal(1), "m": _MILLI})
        if found is None or not MIN_CPU <= found <= MAX_CPU or found % _MILLI:
            faults.append(FieldViolation(path, _CPU_RULE))
            return UNREADABLE
        return float(found)

    return Kind(read, {"type": ["string", "number"], "examples": ["500m"]})


def bytes_kind(least: int, most: int) -> Kind:
    """Bytes as an integer, from `least` to `most`; "" reads as 0, which is "not set"."""

    def read(value: object, path: str, faults: Faults) -> object:
        if value == "":
            return 0
        found = _decimal(value, _UNITS)
        fault = ""
        if found is None or found != found.to_integral_value():
            fault = _BYTES_RULE
        elif not least <= found <= most:
            fault = f"must be {format_bytes(least)} to {format_bytes(most)}"
        if fault or found is None:
            faults.append(FieldViolation(path, fault))
            return UNREADABLE
        return int(found)

    return Kind(read, {"type": ["string", "integer"], "examples": ["512Mi"]})


def format_cpu(cpus: float) -> str:
    """`0.5`, `2`: at most three digits after the point."""
    return f"{cpus:.3f}".rstrip("0").rstrip(".")


def format_bytes(count: int | None) -> str:
    """`512Mi`, `1500000000`; "" where it is not set."""
    if count is None:
        return ""
    for suffix, unit in reversed(_BINARY.items()):
        if count and count % unit == 0:
            return f"{count // unit}{suffix}"
    return str(count)


def _decimal(value: object, units: Mapping[str, Decimal]) -> Decimal | None:
    """The amount, or None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return Decimal(repr(value))
    match = _QUANTITY.fullmatch(value)
    if match is None or match[2] not in units:
        return None
    return Decimal(match[1]) * units[match[2]]
