"""What a name says wherever it is met: operation ids out of paths, parameters of paths, queries of all lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from api.wire.resource_ids import PATTERN

Json = dict[str, Any]

_API: Final = "/v1/"
_ACCOUNT: Final = "/v1/accounts/{account_id}/"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
#: By (method, whether the path ends with an id).
_VERBS = {
    ("get", True): "get",
    ("get", False): "list",
    ("post", False): "create",
    ("patch", True): "update",
    ("put", True): "replace",
    ("delete", True): "delete",
}
_INT32_MAX = 2**31 - 1
_RESOURCE_ID: Json = {"type": "string", "pattern": PATTERN, "maxLength": 63}
#: An id that the client may choose, or leave empty.
_CHOSEN_ID: Json = {"type": "string", "pattern": f"^({PATTERN.strip('^$')})?$", "maxLength": 63}
_ANY_ID: Json = {"type": "string", "minLength": 1, "pattern": r"^[^/:\x00]+$"}
#: Parameters of a path whose form is not that of the ids that clients choose.
_PATH_SCHEMAS: Mapping[str, Json] = {
    "rank": {"type": "integer", "format": "int32", "minimum": 0, "maximum": _INT32_MAX},
    "key_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}
_RESOURCE_IDS = frozenset({"account_id", "job_id", "pool_id", "node_id", "user_id", "secret_id"})

_QUERY_WORDS: Mapping[str, str] = {
    "pageSize": "How many at most; 0 is the default. More than {most:,} is cut to that.",
    "maxPoints": "How many points at most; 0 is the default. More than {most:,} is cut to that.",
    "pageToken": "The `nextPageToken` of the page before; every other parameter must be as it was then.",
    "filter": "An AIP-160 filter.",
    "orderBy": "Fields by which to sort, each with `desc` or not: `create_time desc, display_name`.",
    "readMask": "The fields to answer, with commas between; empty or `*` for all.",
    "updateMask": "The fields to change, with commas between; without it, those that the body has.",
    "validateOnly": "Check all and say what would be made; make nothing.",
}


def operation_id(path: str, method: str) -> str:
    """`batchJobs_create` for `POST …/batchJobs`, `nodePools_nodes_drain` for `POST …/nodes/{node_id}:drain`."""
    plain, _, custom = path.removeprefix(_ACCOUNT).removeprefix(_API).strip("/").partition(":")
    segments = plain.split("/")
    nouns = [segment for segment in segments if not segment.startswith("{")]
    if not path.startswith(_API):
        return "_".join(nouns)
    verb = custom or _VERBS.get((method, segments[-1].startswith("{")), method)
    return "_".join([*nouns, verb])


def path_parameters(path: str, said: Mapping[str, Json]) -> list[Json]:
    """Every parameter that the path names, whether or not the route's function does."""
    return [_path_parameter(name, said.get(name, {})) for name in _PLACEHOLDER.findall(path)]


def query_parameter(parameter: Json) -> Json:
    """A query parameter with the meaning that its name has in every list."""
    name, schema = parameter["name"], dict(parameter["schema"])
    words = _QUERY_WORDS.get(name, "")
    if name in ("pageSize", "maxPoints"):
        # What is too large is cut, not refused.
        words = words.format(most=schema["maximum"])
        schema |= {"format": "int32", "minimum": 0, "maximum": _INT32_MAX}
    if schema.get("type") == "array":
        schema["items"] = {"format": "int32", "minimum": 0, "maximum": _INT32_MAX, **schema["items"]}
    if name.endswith("Id") and schema == {"type": "string"}:
        schema = _CHOSEN_ID
    if schema.get("format") == "date-time":
        schema = {"anyOf": [schema, {"const": "", "description": "not set"}]}
    described = {"description": words} if words else {}
    return {**described, **parameter, "schema": schema}


def _path_parameter(name: str, said: Json) -> Json:
    schema = _PATH_SCHEMAS.get(name, _RESOURCE_ID if name in _RESOURCE_IDS else _ANY_ID)
    described = {"description": said["description"]} if "description" in said else {}
    return {"name": name, "in": "path", "required": True, **described, "schema": schema}
