"""The finished document: FastAPI's, made true.

FastAPI sees neither our bodies nor our queries nor our errors, adds a 422 that is never answered, and leaves
out path parameters that no function names. Everything here goes over the document as a whole and asks for
a path, a method or a name, so that a new route is described like every other without a word.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.needs import Need, need_of
from api.openapi.errors import ERROR_SCHEMAS, error_responses, error_statuses, response_name
from api.openapi.masks import loosen_masked_answer
from api.openapi.names import operation_id, path_parameters, query_parameter
from api.openapi.operations import ERRORS, OPERATION_ID
from api.openapi.values import TIMESTAMP_SCHEMA

Json = dict[str, Any]

DESCRIPTION = """\
JSON in, JSON out. Names are lowerCamelCase; snake_case is accepted too. Enums are their names, timestamps
RFC 3339 in UTC, durations seconds with an `s` (`"90s"`). Output-only fields in a request are ignored; an unknown
field or query parameter is refused with 400, and every fault of a request is named at once.

Every error has the one body `Status`. A resource of another account answers like one that does not exist.
"""
#: Either spelling is read, which JSON Schema could only say by listing every field twice.
BODY_RULES = "Field names are lowerCamelCase; snake_case is accepted too. `null` means not set. "
OUTPUT_ONLY_RULES = "Output-only fields are ignored; any other unknown field is refused with 400."
UPDATE_RULES = "Fields that cannot be changed, and unknown ones, are refused with 400."
_SCHEME = "apiKey"
_SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key: `Authorization: Bearer lsk_…`",
}
_PUBLIC_API = "/v1/"
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")
_INT32 = {"format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
#: What a caller of the account can lack although he only reads.
_REFUSING = frozenset(
    {Need.ADMIN, Need.NODE_OWNER, Need.CREATOR_OR_SHARED, Need.OWNER_OR_ADMIN}
    | {Need.ADMIN_OR_OPERATOR, Need.OPERATOR}
)
#: Where a schema has others, beside its properties.
_NESTED = frozenset({"items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"})
_TIME_NAME = re.compile(r"(^t|T)ime$")


def finished_document(app: FastAPI) -> Json:
    """The document of every route of `app` that is in the schema."""
    document = copy.deepcopy(FastAPI.openapi(app))
    document["info"]["description"] = DESCRIPTION
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    for schema in schemas.values():
        _close_answer(schema)
    needs = _needs_of(app)
    for path, method, operation in operations(document):
        _finish(path, method, operation, needs.get((path, method)))
        loosen_masked_answer(operation, schemas)
    components["schemas"] = dict(sorted({**schemas, **ERROR_SCHEMAS}.items()))
    components["responses"] = error_responses()
    components["securitySchemes"] = {_SCHEME: _SECURITY_SCHEME}
    document["components"] = dict(sorted(components.items()))
    return document


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Every (path, method, operation) of a document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _needs_of(app: FastAPI) -> dict[tuple[str, str], Need | None]:
    """What the routes' functions declare, by path and method."""
    return {
        (route.path or "", method.lower()): need_of(route.endpoint)
        for route in iter_route_contexts(app.routes)
        if route.endpoint is not None
        for method in route.methods or ()
    }


def _finish(path: str, method: str, operation: Json, need: Need | None) -> None:
    guarded = path.startswith(_PUBLIC_API)
    operation["operationId"] = operation.pop(OPERATION_ID, "") or operation_id(path, method)
    operation["security"] = [{_SCHEME: []}] if guarded else []
    # FastAPI's summary is the name of a function of ours; the docstring's first line says more.
    words = operation.get("description", "")
    operation["summary"] = words.partition("\n")[0].rstrip(".")
    if need is not None:
        operation["description"] = f"{words}\n\nWho may: {need.value}.".strip()
    _finish_request(path, method, operation)
    answers = operation["responses"]
    answers.pop("422", None)
    _drop_assumed_json(answers)
    declared = [*operation.pop(ERRORS, []), *([403] if need in _REFUSING else [])]
    for status in error_statuses(method, guarded=guarded, declared=declared):
        answers[str(status)] = {"$ref": f"#/components/responses/{response_name(status)}"}


def _finish_request(path: str, method: str, operation: Json) -> None:
    given = operation.pop("parameters", [])
    of_path = path_parameters(path, {each["name"]: each for each in given if each["in"] == "path"})
    others = [query_parameter(each) if each["in"] == "query" else each for each in given if each["in"] != "path"]
    if of_path or others:
        operation["parameters"] = [*of_path, *others]
    body = operation.get("requestBody", {})
    if body:
        body["description"] = BODY_RULES + (UPDATE_RULES if method == "patch" else OUTPUT_ONLY_RULES)
    for media in body.get("content", {}).values():
        media["schema"] = _request_schema(media["schema"], keep_output_only=method != "patch")


def _drop_assumed_json(answers: Json) -> None:
    """FastAPI assumes JSON beside every other media type."""
    for answer in answers.values():
        content = answer.get("content", {})
        if len(content) > 1 and content.get("application/json") == {"schema": {}}:
            del content["application/json"]


def _request_schema(schema: Json, *, keep_output_only: bool) -> Json:
    """What a body may be: in a message, null is "not set" for every field but those required."""
    found = dict(schema)
    for key in _NESTED & set(schema):
        if isinstance(schema[key], dict):
            found[key] = _request_schema(schema[key], keep_output_only=keep_output_only)
    if "properties" in schema:
        fields = {
            name: _request_schema(each, keep_output_only=keep_output_only)
            for name, each in schema["properties"].items()
            if keep_output_only or not each.get("readOnly")
        }
        required = schema.get("required", ())
        found["properties"] = {n: each if n in required else _nullable(each) for n, each in fields.items()}
    return _bounded(found)


def _nullable(schema: Json) -> Json:
    """The same, or null."""
    if not set(schema) - {"readOnly", "description"}:
        return schema
    if not isinstance(schema.get("type"), str):
        return {"anyOf": [schema, {"type": "null"}]}
    found = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        found["enum"] = [*schema["enum"], None]
    return found


def _close_answer(schema: Any) -> None:
    """Nothing undocumented is answered; strings named as times are times; numbers are of 32 bits."""
    if isinstance(schema, list):
        for each in schema:
            _close_answer(each)
    if not isinstance(schema, dict):
        return
    schema.pop("title", None)
    properties = schema.get("properties", {})
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for name, each in properties.items():
        properties[name] = _as_time(each) if _TIME_NAME.search(name) else each
    for each in properties.values():
        _close_answer(each)
    for key in _NESTED & set(schema):
        _close_answer(schema[key])
    schema.update(_bounded(schema))


def _as_time(schema: Json) -> Json:
    if schema.get("type") == "string" and "format" not in schema:
        return {**schema, **TIMESTAMP_SCHEMA}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_as_time(each) for each in schema["anyOf"]]}
    return schema


def _bounded(schema: Json) -> Json:
    """An integer's range, where its format is that of 32 bits or not said: in proto-JSON, 64 bits are a string."""
    if schema.get("type") == "integer" and schema.get("format", "int32") == "int32" and "enum" not in schema:
        return {**_INT32, **schema}
    return schema
