"""Answers that are not errors. What is in them is made by each resource's `schema_out`."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from typing_extensions import TypedDict

from api.wire.json_text import dump_json


class Empty(TypedDict):
    """`google.protobuf.Empty`."""


def json_response(value: Any) -> Response:
    """A 200 with JSON that is already in the wire's shape."""
    return Response(dump_json(value), media_type="application/json")
