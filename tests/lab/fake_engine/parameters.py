"""What a request's query says: filters, flags, moments. Raises Refused where an engine refuses it."""

from __future__ import annotations

import orjson

from tests.lab.fake_engine.http_server import Request
from tests.lab.fake_engine.networks import Refused
from tests.lab.fake_engine.stamps import parsed_moment


def filters_of(request: Request, allowed: frozenset[str]) -> dict[str, list[str]]:
    """The `filters` parameter; clients write a list or, of old, a map to true. Raises Refused."""
    text = request.query.get("filters", "")
    if not text:
        return {}
    try:
        said = orjson.loads(text)
    except ValueError as error:
        raise Refused(500, str(error)) from None
    for name in said:
        if name not in allowed:
            raise Refused(400, f"Invalid filter '{name}'")
    return {name: [str(value) for value in values] for name, values in said.items()}


def flag_of(request: Request, name: str) -> bool:
    """Whether a parameter says yes."""
    return request.query.get(name, "").lower() not in ("", "0", "no", "false", "none")


def moment_of(request: Request, name: str) -> int | None:
    """A parameter's time, in nanoseconds; None where it is not there. Raises Refused."""
    text = request.query.get(name, "")
    if not text:
        return None
    try:
        return parsed_moment(text)
    except ValueError:
        raise Refused(500, f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
