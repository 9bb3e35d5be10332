"""What an answer is where the caller chooses its fields: with `readMask`, any of them may be left out."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

READ_MASK: Final = "readMask"
_SCHEMAS: Final = "#/components/schemas/"
_SUFFIX: Final = "Masked"
_LIST_MARK: Final = "nextPageToken"


def loosen_masked_answer(operation: Json, schemas: Json) -> None:
    """Let the answer of an operation with `readMask` lack fields: a resource's own, or those of a list's items.

    Adds the looser schemas to `schemas` beside the strict ones.
    """
    if READ_MASK not in [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]:
        return
    media = operation["responses"]["200"]["content"].get("application/json", {})
    name = media.get("schema", {}).get("$ref", "").removeprefix(_SCHEMAS)
    if name:
        media["schema"] = {"$ref": _SCHEMAS + _masked(name, schemas)}


def _masked(name: str, schemas: Json) -> str:
    masked = name + _SUFFIX
    if masked not in schemas:
        schema = dict(schemas[name])
        schemas[masked] = schema
        properties = schema.get("properties", {})
        if _LIST_MARK in properties:
            schema["properties"] = {key: _with_masked_items(each, schemas) for key, each in properties.items()}
        else:
            schema.pop("required", None)
            schema["properties"] = {key: _below(each, schemas) for key, each in properties.items()}
            schema["description"] = f"{schema.get('description', name)}\n\nA readMask leaves fields out.".strip()
    return masked


def _with_masked_items(schema: Json, schemas: Json) -> Json:
    return {**schema, "items": _below(schema["items"], schemas)} if "items" in schema else schema


def _below(schema: Json, schemas: Json) -> Json:
    """A mask reaches into messages, also those that may be null, and not into lists."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_below(each, schemas) for each in schema["anyOf"]]}
    name = schema.get("$ref", "").removeprefix(_SCHEMAS)
    if not name or schemas[name].get("type") != "object":
        return schema
    return {**schema, "$ref": _SCHEMAS + _masked(name, schemas)}
