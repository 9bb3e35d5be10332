"""docs/fields.md has every field of a batch job, of its type, with an accepted example, and no other field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from api.app import create_app
from api.batch_jobs.files_in import NOTEBOOK
from api.batch_jobs.rules import violations
from api.batch_jobs.schema_in import BATCH_JOB, UNSERVED_REFERENCES, read_batch_job
from api.openapi.document import finished_document
from core.settings import Settings
from tests.docs.pages import ROOT, table

Json = Mapping[str, Any]
_PAGE = ROOT / "docs" / "fields.md"
_ASKED = {row[0].strip("`"): row for row in table(_PAGE, "What a request sets")}
_ANSWERED = {row[0].strip("`"): row for row in table(_PAGE, "What is answered")}
_NOT_ANSWERED = {"files", "notebookExecutor.content"}
_SETTINGS = Settings(database_url="postgresql://x@localhost/x", broker_url="redis://localhost/0")


def _leaves(schema: Json, path: str, components: Json) -> Iterator[tuple[str, Json]]:
    """Every field that is no message, by its path; lists of messages are looked into."""
    whole = _resolved(schema, components)
    if "properties" in whole:
        for name, part in whole["properties"].items():
            yield from _leaves(part, f"{path}.{name}" if path else name, components)
    elif "properties" in _resolved(whole.get("items", {}), components):
        yield from _leaves(whole["items"], f"{path}[]", components)
    else:
        yield path, whole


def _resolved(schema: Json, components: Json) -> Json:
    """What a reference means; of what may be null, what it is else."""
    kept = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(kept) == 1:
        return _resolved(kept[0], components)
    if "$ref" in schema:
        return _resolved(components[schema["$ref"].rpartition("/")[2]], components)
    return schema


def _asked_for() -> dict[str, Json]:
    return dict(_leaves(BATCH_JOB.schema, "", {}))


def _type(schema: Json) -> str:
    """As the page calls it."""
    examples = schema.get("examples", [""])
    if schema == NOTEBOOK.schema:
        return "notebook"
    if "enum" in schema or any("enum" in each for each in schema.get("anyOf", ())):
        return "name"
    if schema.get("type") == "object":
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("type"), list):
        return "amount" if examples[0] in ("500m", "512Mi") else " or ".join(schema["type"])
    if schema.get("format") == "date-time":
        return "time"
    return "duration" if examples[0] == "90s" else str(schema.get("type", "anything"))


def test_every_field_of_a_request_is_there_with_its_type() -> None:
    assert {name: row[1] for name, row in _ASKED.items()} == {
        name: _type(schema) for name, schema in _asked_for().items()
    }


def test_every_field_of_an_answer_is_there_with_its_type() -> None:
    components = finished_document(create_app(_SETTINGS))["components"]["schemas"]
    answered = dict(_leaves(components["BatchJobRead"], "", components))
    own = {name: _type(schema) for name, schema in answered.items() if name not in _ASKED}
    assert {name: row[1] for name, row in _ANSWERED.items()} == own
    assert set(_ASKED) - set(answered) == _NOT_ANSWERED


@pytest.mark.parametrize("field", sorted({name.partition(".")[0] for name in _ASKED} - set(UNSERVED_REFERENCES)))
def test_examples_are_accepted(field: str) -> None:
    examples = {name: row[4].strip("`") for name, row in _ASKED.items() if name.partition(".")[0] == field}
    body: dict[str, Any] = {"nodePoolId": "default", "imageRef": "longshore/python:3"}
    for name, example in examples.items():
        _put(body, name.replace("[]", ".0").split("."), json.loads(example))
    faults: list[Any] = []
    job = read_batch_job(_listed(body), faults)
    assert faults + list(violations(job, _SETTINGS.max_ranks, _SETTINGS.max_upload_bytes)) == []


def _put(into: dict[str, Any], path: list[str], value: Any) -> None:
    first, *rest = path
    if rest:
        _put(into.setdefault(first, {}), rest, value)
    else:
        into[first] = value


def _listed(value: Any) -> Any:
    """Objects whose keys are places in a list, as that list."""
    if not isinstance(value, dict):
        return value
    found = {name: _listed(each) for name, each in value.items()}
    return list(found.values()) if "0" in found else found
