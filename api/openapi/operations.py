"""What a route says of itself in the OpenAPI document, in one line of its decorator.

    @router.post("/things", **documented(answer=ThingRead, query=_QUERY, body=THING, required=["size"]))

Bodies and queries are read by our own code, so FastAPI sees none of them. What is the same for every operation
(path parameters, security, the usual errors, ids) is added by `document` and never said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.wire.proto_json import Kind
from api.wire.query import Parameter, openapi_parameters

#: Extensions by which a route speaks to `document`, which takes them out again.
OPERATION_ID: Final = "x-operation-id"
ERRORS: Final = "x-errors"

EVENT_STREAM: Final = "text/event-stream"
_MAX_IDEMPOTENCY_KEY = 255

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same body gives the same answer, however often it is sent.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_IDEMPOTENCY_KEY, "pattern": "^[!-~]+$"},
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that was seen: the stream goes on after it.",
    "schema": {"type": "string"},
}


def documented(
    *,
    answer: Any = None,
    content: Mapping[str, Mapping[str, Any]] | None = None,
    stream: bool = False,
    query: Mapping[str, Parameter] | None = None,
    body: Kind | None = None,
    body_schema: Mapping[str, Any] | None = None,
    required: Iterable[str] = (),
    body_optional: bool = False,
    idempotent: bool = False,
    resumable: bool = False,
    errors: Iterable[int] = (),
    operation_id: str = "",
) -> dict[str, Any]:
    """The `responses` and `openapi_extra` of a route.

    answer: the class of the JSON answer (a TypedDict), or `content`: media types with what OpenAPI says of each,
    or `stream`: server-sent events. body: how the body is read, or `body_schema` where no single kind says it;
    required: its fields that must be set. body_optional: no body at all is the same as `{}`.
    idempotent: `Idempotency-Key` is read. resumable: `Last-Event-ID` is read.
    errors: statuses beside those that every operation has. operation_id: where the path's own would be wrong.
    """
    extra: dict[str, Any] = dict(openapi_parameters(query or {}))
    headers = [header for header, read in ((_IDEMPOTENCY_KEY, idempotent), (_LAST_EVENT_ID, resumable)) if read]
    extra["parameters"] = [*extra["parameters"], *headers]
    schema = body_schema if body is None else _with_output_only(body)
    if schema is not None:
        extra["requestBody"] = _request_body(schema, tuple(required), not body_optional)
    extra[ERRORS] = sorted(errors)
    if operation_id:
        extra[OPERATION_ID] = operation_id
    response: dict[str, Any] = {} if answer is None else {"model": answer}
    if stream:
        # OpenAPI 3.1 has no words for the events of a stream: they are in the route's docstring.
        content = {EVENT_STREAM: {}}
    if content is not None:
        response["content"] = dict(content)
    return {"responses": {200: response}, "openapi_extra": extra}


def _with_output_only(kind: Kind) -> Mapping[str, Any]:
    """A message's schema with the fields that it ignores, which may hold anything."""
    properties = kind.schema.get("properties", {})
    ignored = sorted(set(kind.spellings.values()) - set(properties))
    return {**kind.schema, "properties": {**properties, **{name: {"readOnly": True} for name in ignored}}}


def _request_body(schema: Mapping[str, Any], required: tuple[str, ...], needed: bool) -> dict[str, Any]:
    schema = {**schema, "required": list(required)} if required else dict(schema)
    return {
        "required": needed,
        "content": {"application/json": {"schema": schema}},
    }
