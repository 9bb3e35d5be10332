"""JSON text in and out, strictly: what two readers could understand differently is refused.

Refused with InvalidArgument: bytes that are not UTF-8, duplicate names (RFC 8259 leaves their meaning open),
NaN and Infinity, numbers past the range of a double, nesting past protobuf's own limit.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import orjson

from core.errors import InvalidArgument

#: Protobuf's default recursion limit. Python's parser would raise RecursionError at about ten times that.
MAX_DEPTH = 100
_BODY = "body"

# An unterminated string runs to the end of the text. Possessive, because a body may be made to backtrack.
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def load_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises InvalidArgument naming `body`, or the name that is given twice."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument.field(_BODY, f"is not UTF-8: bad byte at offset {error.start}") from None
    _check_depth(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidArgument.field(_BODY, f"is not JSON: {error.msg} at {where}") from None


def dump_json(value: object) -> bytes:
    """JSON text of plain values. Lone surrogates, which UTF-8 cannot say, become `?`."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(_sayable(value), ensure_ascii=False, separators=(",", ":")).encode()


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidArgument.field(_BODY, f"is nested more than {MAX_DEPTH} levels deep")


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidArgument.field(name[:100], "is given more than once")
            seen.add(name)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidArgument.field(_BODY, f"is not JSON: {name} is not a JSON number")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidArgument.field(_BODY, f"holds a number out of range: {digits[:40]}")
    return value


def _bounded_int(digits: str) -> int | float:
    """Past 64 bits an integer is read as the double that it is in other readers."""
    if len(digits) < 19:
        return int(digits)
    value = _finite_float(digits)
    return int(digits) if -(2**63) <= value < 2**63 else value


def _sayable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_sayable(name): _sayable(each) for name, each in value.items()}
    return [_sayable(each) for each in value] if isinstance(value, list | tuple) else value
