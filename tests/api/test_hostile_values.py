"""Every operation of the document, asked with text that databases, encoders and parsers choke on.

Schemathesis draws such values rarely and never into output-only fields, which are read by nobody and must
therefore hurt nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.openapi.document import operations
from core.database import Database
from core.settings import Settings
from tests.api.conftest import Served
from tests.api.known_resources import DOCUMENT, NARROWED, seed, unlimited

Json = dict[str, Any]

#: Text by what is hostile in it. Half a surrogate pair is what a JSON escape can say and UTF-8 cannot.
TEXTS = {
    "nul": "a\0b",
    "half of a pair": "\ud800",
    "quotes": "'\";--\\",
    "wildcards": "%_*",
    "right to left": "\u202e\u0000",
    "very long": "x" * 70_000,
    "digits": "9" * 400,
    "path": "../../etc/passwd",
}
#: JSON texts that are in no field's range.
VALUES = ["1e400", "-0", "1e308", "9" * 30, "[[[[]]]]", '{"":{"":{}}}', "true", '"\\ud800"', '"\\u0000"', "[null]"]
_ID = re.compile(r"\{(\w+)\}")


def _requests(path: str, method: str) -> Iterator[Json]:
    """Keyword arguments of requests: one part is hostile, the others are plausible."""
    operation = NARROWED["paths"][path][method]
    narrow = {each["name"]: each for each in operation.get("parameters", [])}
    plain = _ID.sub(lambda found: _plausible_text(narrow[found[1]]["schema"]), path)
    body = _body(operation)
    json_headers = {"Content-Type": "application/json"} if body is not None else {}
    content = None if body is None else json.dumps(_plausible(body)).encode()
    for text in TEXTS.values():
        encoded = quote(text[:2000].encode("utf-8", "surrogatepass"), safe="")
        for name in _ID.findall(path):
            hostile = path.replace(f"{{{name}}}", encoded)
            url = _ID.sub(lambda found: _plausible_text(narrow[found[1]]["schema"]), hostile)
            yield {"url": url, "content": content, "headers": json_headers}
        queries = [name for name, each in narrow.items() if each["in"] == "query"]
        for query in ("&".join(f"{name}={encoded}" for name in queries), f"{encoded}={encoded}"):
            yield {"url": f"{plain}?{query}", "content": content, "headers": json_headers}
        for header in [name for name, each in narrow.items() if each["in"] == "header"]:
            value = text[:2000].encode("utf-8", "surrogatepass").replace(b"\0", b"")
            yield {"url": plain, "content": content, "headers": {**json_headers, header.encode(): value}}
    if body is None:
        return
    whole = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    ignored = [name for name, each in whole["properties"].items() if each.get("readOnly")]
    right = {name: json.dumps(each) for name, each in _plausible(body).items()}
    for number, hostile_json in enumerate([*map(json.dumps, TEXTS.values()), *VALUES]):
        # Every field; those that are ignored, beside fields that are right; the body itself.
        yield _json_request(plain, dict.fromkeys(whole["properties"], hostile_json))
        key = {"Idempotency-Key": f"{operation['operationId']}-{number}"}
        yield _json_request(plain, {**right, **dict.fromkeys(ignored, hostile_json)}, key)
        yield {"url": plain, "content": hostile_json.encode(), "headers": json_headers}


def _json_request(url: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Json:
    text = ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items())
    return {
        "url": url,
        "content": f"{{{text}}}".encode(),
        "headers": {"Content-Type": "application/json", **(headers or {})},
    }


def _body(operation: Json) -> Json | None:
    content = operation.get("requestBody", {}).get("content", {})
    found: Json | None = content["application/json"]["schema"] if content else None
    return found


def _plausible(schema: Json) -> Any:
    """The least instance of a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema or schema.get("type") == "object":
        return {name: _plausible(schema["properties"][name]) for name in schema.get("required", ())}
    return [] if schema.get("type") == "array" else 1 if schema.get("type") == "integer" else "x"


def _plausible_text(schema: Json) -> str:
    options = schema.get("anyOf", [schema])
    return str(options[0].get("const", "0"))


@pytest.fixture(scope="module")
def settings(database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return unlimited(database_url, broker_url, tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def seeded(served: Served, admin: httpx.Client, database: Database) -> None:
    seed(served, admin, database)


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, method, _ in operations(DOCUMENT) if path.startswith("/v1/")],
)
def test_hostile_values_are_answered_as_documented(served: Served, seeded: None, path: str, method: str) -> None:
    documented = DOCUMENT["paths"][path][method]["responses"]
    faults = []
    headers = {"Authorization": f"Bearer {served.admin_key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=30) as client:
        for request in _requests(path, method):
            with client.stream(method, **request) as answer:
                if str(answer.status_code) not in documented or answer.status_code == 500:
                    faults.append((answer.status_code, str(request)[:300]))
    assert not faults, faults[:3]
