"""The OpenAPI document: whole, valid, and true of what is answered; asked over the route table, not a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import create_app
from api.docs_page import ASSETS
from api.openapi.document import operations
from core.settings import Settings
from tests.api.conftest import ACCOUNT, Served

Json = dict[str, Any]
#: Lists that are not served yet. What leaves `api.unserved` leaves here.
UNSERVED = {"/environments", "/snapshots"}
Create = Callable[..., str]


@pytest.fixture(scope="module")
def document(served: Served) -> Json:
    found: Json = httpx.get(f"{served.url}/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


def guarded(document: Json) -> list[Json]:
    """The operations under an account or an account's list: those that ask for a key."""
    found = [operation for path, _, operation in operations(document) if path.startswith("/v1/")]
    assert found
    return found


def resolved(document: Json, part: Json) -> Json:
    """What a reference means; anything else as it is."""
    while "$ref" in part:
        found = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def schemas_of(document: Json) -> Iterator[Json]:
    """Every object anywhere in the document."""
    pending: list[Any] = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            yield part
            pending += part.values()
        elif isinstance(part, list):
            pending += part


def test_document_is_valid_openapi_3_1(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    assert not [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_every_route_of_the_app_is_in_the_document(app: FastAPI, document: Json) -> None:
    described = {(method.upper(), path) for path, method, _ in operations(document)}
    unlisted = {"/docs", "/docs/{asset}", "/openapi.json"}
    served = {
        (method, (route.path or "").replace(":path}", "}"))
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
        if route.path not in unlisted
    }
    assert served == described


def test_every_operation_has_its_own_id_a_tag_and_words(document: Json) -> None:
    found = [operation for _, _, operation in operations(document)]
    ids = [operation["operationId"] for operation in found]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[A-Za-z_]+", each) for each in ids), ids
    assert {"batchJobs_create", "batchJobs_list", "batchJobs_get", "batchJobs_cancel"} <= set(ids)
    assert not [each["operationId"] for each in found if not each.get("tags") or not each.get("description")]


def test_every_guarded_operation_asks_for_the_key_and_documents_the_usual_errors(document: Json) -> None:
    for operation in guarded(document):
        assert operation["security"] == [{"apiKey": []}]
        assert {"200", "400", "401", "404", "429", "500", "503"} <= set(operation["responses"])


def test_every_error_has_the_one_body(document: Json) -> None:
    seen = set()
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status == "200":
                continue
            seen.add(status)
            error = resolved(document, answer)
            schema = error["content"]["application/json"]["schema"]
            assert schema["allOf"][0] == {"$ref": "#/components/schemas/Status"}, (path, method, status)
            assert ("Retry-After" in error.get("headers", {})) == (status in ("429", "503"))
    assert {"400", "401", "403", "404", "409", "429", "500", "501", "503"} <= seen


def test_nothing_of_the_framework_is_left(document: Json, app: FastAPI) -> None:
    text = str(document)
    assert "'422'" not in text and "ValidationError" not in text and "'title': '" not in str(document["paths"])
    assert app.openapi() == document


def test_every_placeholder_of_a_path_is_a_parameter_with_a_schema(document: Json) -> None:
    for path, _, operation in operations(document):
        given = [each for each in operation.get("parameters", []) if each["in"] == "path"]
        assert [each["name"] for each in given] == re.findall(r"\{(\w+)\}", path)
        assert all(each["required"] and len(each["schema"]) > 1 for each in given), path


def test_answers_of_the_document_are_closed(document: Json) -> None:
    for name, schema in document["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert "additionalProperties" in schema, name


def test_only_a_read_mask_leaves_fields_out(document: Json) -> None:
    for _, _, operation in operations(document):
        content = resolved(document, operation["responses"]["200"])["content"]
        answer = resolved(document, content.get("application/json", {}).get("schema", {}))
        masked = "readMask" in [each["name"] for each in operation.get("parameters", [])]
        if answer.get("properties") and not masked:
            assert answer.get("required"), operation["operationId"]
        if masked and "nextPageToken" in answer["properties"]:
            answer = next(
                resolved(document, each["items"]) for each in answer["properties"].values() if "items" in each
            )
        if masked:
            assert answer["properties"] and not answer.get("required"), operation["operationId"]


def test_states_and_times_of_answers_are_more_than_strings(document: Json) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, each in schema.get("properties", {}).items():
            said = str(resolved(document, each))
            if field == "state":
                assert any(word in said for word in ("enum", "const", "anyOf")), f"{name}.{field}"
            if field.endswith("Time"):
                assert "date-time" in said, f"{name}.{field}"


def test_bodies_of_the_document_name_their_fields(document: Json) -> None:
    create = document["paths"]["/v1/accounts/{account_id}/batchJobs"]["post"]
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["nodePoolId"] and schema["additionalProperties"] is False
    assert schema["properties"]["numRanks"] == {
        "type": ["integer", "null"],
        "format": "int32",
        "minimum": -(2**31),
        "maximum": 2**31 - 1,
    }
    assert schema["properties"]["state"] == {"readOnly": True}
    for operation in guarded(document):
        if "requestBody" in operation:
            assert "additionalProperties" in str(operation["requestBody"]), operation["operationId"]


class Tour:
    """Calls the API and holds every answer against the document."""

    def __init__(self, document: Json, client: httpx.Client) -> None:
        self._document, self._client = document, client
        self._operations = [
            (method, self._pattern(path), operation) for path, method, operation in operations(document)
        ]

    def call(self, method: str, path: str, *expected: int, **options: Any) -> Any:
        answer = self._client.request(method, path, **options)
        status = answer.status_code
        assert status in expected, answer.text
        found = [
            operation
            for verb, pattern, operation in self._operations
            if verb == method.lower() and pattern.fullmatch(answer.request.url.path)
        ]
        assert len(found) == 1, (method, path)
        documented = resolved(self._document, found[0]["responses"][str(status)])
        media = documented["content"][answer.headers["Content-Type"].partition(";")[0]]
        schema = {**media["schema"], "components": self._document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        faults = [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(answer.json())]
        assert not faults, (method, path, faults)
        return answer.json()

    @staticmethod
    def _pattern(path: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(path)))


def test_answers_of_a_tour_are_as_documented(document: Json, admin: httpx.Client, create: Create) -> None:
    tour = Tour(document, admin)
    body = {"nodePoolId": "imaged", "shellExecutor": {"command": "true"}, "annotations": {"a": "b"}}
    job = tour.call("POST", "/batchJobs", 200, json={**body, "stopGracePeriod": "1.5s"})
    path = "/batchJobs/" + job["name"].rpartition("/")[2]
    python = {"targetType": "MODULE", "target": "a.b", "args": ["c"]}
    tour.call("POST", "/batchJobs", 200, json={"node_pool_id": "imaged", "python_executor": python, "state": 7})
    tour.call("POST", "/batchJobs?validateOnly=true", 200, json=body)
    tour.call("POST", "/batchJobs", 400, json={"nodePoolId": 1, "numRank": 1})
    tour.call("POST", "/batchJobs", 501, json={**body, "environmentId": "x"})
    tour.call("GET", path, 200)
    tour.call("GET", f"{path}?readMask=name,shellExecutor.command", 200)
    tour.call("GET", "/batchJobs", 200)
    tour.call("GET", "/batchJobs?readMask=state", 200)
    tour.call("GET", f"{path}:getLogs", 200)
    tour.call("GET", f"{path}/ranks/0/notebook", 404)
    tour.call("GET", f"{path}/files/a.py", 404)
    notebook = {"content": {"nbformat": 4, "cells": []}}
    job = tour.call("POST", "/batchJobs", 200, json={"nodePoolId": "imaged", "notebookExecutor": notebook})
    tour.call("POST", f"{path}:cancel", 200)
    tour.call("DELETE", path, 200)
    tour.call("GET", "/batchJobs/nothing", 404)
    tour.call("GET", "/batchJobs?pageSize=-1", 400)
    tour.call("GET", "/batchJobs", 401, headers={"Authorization": "Bearer lsk_0_0"})


def test_every_guarded_get_without_ids_answers_as_documented(
    document: Json, admin: httpx.Client, create: Create
) -> None:
    create()
    tour = Tour(document, admin)
    base = "/v1/accounts/{account_id}"
    lists = [
        path.removeprefix(base)
        for path, method, operation in operations(document)
        if method == "get" and path.startswith(base + "/") and "{" not in path.removeprefix(base)
    ]
    assert "/batchJobs" in lists
    unserved = [path for path in lists if tour.call("GET", path, 200, 501).get("code") == 12]
    assert set(unserved) <= UNSERVED


def test_every_call_of_a_user_who_is_no_admin_answers_a_documented_status(document: Json, served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.user_key}"}
    undocumented = []
    for path, method, operation in operations(document):
        if not path.startswith("/v1/"):
            continue
        url = served.url + re.sub(r"\{\w+\}", "nothing", path.replace("{account_id}", ACCOUNT))
        with httpx.stream(method, url, headers=headers, json={}) as answer:
            if str(answer.status_code) not in operation["responses"]:
                undocumented.append((operation["operationId"], answer.status_code))
    assert not undocumented


def test_document_is_served_fast_and_without_a_key(served: Served) -> None:
    first = httpx.get(f"{served.url}/openapi.json")
    assert first.headers["Content-Type"] == "application/json"
    with httpx.Client() as client:
        seconds = [client.get(f"{served.url}/openapi.json").elapsed.total_seconds() for _ in range(20)]
    assert min(seconds) < 0.05
    assert httpx.get(f"{served.url}/openapi.json").content == first.content


def test_docs_page_and_its_assets_load_nothing_from_another_host(served: Served) -> None:
    page = httpx.get(f"{served.url}/docs")
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {each.rpartition("/")[2] for each in loaded} >= set(ASSETS)
    assert not [each for each in loaded if re.match(r"(?:[a-z]+:)?//", each)]
    for name in ASSETS:
        asset = httpx.get(f"{served.url}/docs/{name}")
        assert asset.status_code == 200 and len(asset.content) > 10
        # What a browser loads by itself out of a style sheet or our own script; the bundle only names hosts.
        if name.endswith(".css"):
            urls = re.findall(r"url\(\s*[\"']?(.{0,20})|@import(.{0,20})", asset.text)
            assert not [each for each in urls if not each[0].startswith("data:")]
        if name == "page.js":
            assert not re.search(r"[\"'](?:https?:)?//", asset.text) and "validatorUrl: null" in asset.text
    for each in (page, httpx.get(f"{served.url}/docs/page.js")):
        policy = dict(part.split(" ", 1) for part in each.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
        assert "http" not in str(policy) and "*" not in str(policy)


def test_docs_assets_that_the_browser_has_are_not_sent_again(served: Served) -> None:
    first = httpx.get(f"{served.url}/docs/swagger-ui.css")
    again = httpx.get(f"{served.url}/docs/swagger-ui.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("asset", ["nothing.js", "..%2F__init__.py", "page.html", "__init__.py", "%00"])
def test_docs_assets_that_are_none_answer_404(served: Served, asset: str) -> None:
    answer = httpx.get(f"{served.url}/docs/{asset}")
    assert answer.status_code == 404 and answer.json()["code"] == 5


def test_docs_name_an_account_of_no_one(served: Served) -> None:
    for path in ("/docs", "/openapi.json"):
        assert ACCOUNT not in httpx.get(served.url + path).text
