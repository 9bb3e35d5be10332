"""The table of bad input: each is refused, naming the field, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import IMAGE

VALID: dict[str, Any] = {"nodePoolId": "default", "imageRef": IMAGE}
NOTEBOOK = {"nbformat": 4, "cells": []}
PYTHON = {"targetType": "MODULE", "target": "train"}

#: name → (what differs from a valid request, the fields that must be named)
FIELDS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "two executors": (
        {"pythonExecutor": PYTHON, "shellExecutor": {"command": "true"}},
        {"pythonExecutor", "shellExecutor"},
    ),
    "no image": ({"imageRef": None}, {"imageRef"}),
    "no ranks": ({"numRanks": 0}, {"numRanks"}),
    "negative ranks": ({"numRanks": -1}, {"numRanks"}),
    "a rank and a half": ({"numRanks": 1.5}, {"numRanks"}),
    "ranks as a string": ({"numRanks": "2"}, {"numRanks"}),
    "ranks as a truth": ({"numRanks": True}, {"numRanks"}),
    "a thousand million ranks": ({"numRanks": 10**9}, {"numRanks"}),
    "ranks past 32 bits": ({"numRanks": 10**30}, {"numRanks"}),
    "empty image": ({"imageRef": ""}, {"imageRef"}),
    "blank image": ({"imageRef": "  "}, {"imageRef"}),
    "image of 4 KB": ({"imageRef": "a" * 4096}, {"imageRef"}),
    "image in upper case": ({"imageRef": "Team/Tool"}, {"imageRef"}),
    "image with a space": ({"imageRef": "team/tool :1"}, {"imageRef"}),
    "image with shell syntax": ({"imageRef": "tool;reboot"}, {"imageRef"}),
    "image with a substitution": ({"imageRef": "$(reboot)"}, {"imageRef"}),
    "image with dots": ({"imageRef": "../tool"}, {"imageRef"}),
    "image of a wrong kind": ({"imageRef": ["a"]}, {"imageRef"}),
    "variable without a name": ({"envVars": {"": "x"}}, {'envVars[""]'}),
    "variable with =": ({"envVars": {"A=B": "x"}}, {'envVars["A=B"]'}),
    "variable with NUL": ({"envVars": {"A": "x\0"}}, {'envVars["A"]'}),
    "variable named with NUL": ({"envVars": {"A\0": "x"}}, {'envVars["A\\u0000"]'}),
    "variable named RANK": ({"envVars": {"RANK": "0"}}, {'envVars["RANK"]'}),
    "variable of ours": ({"envVars": {"LONGSHORE_X": "0"}}, {'envVars["LONGSHORE_X"]'}),
    "variable of a wrong kind": ({"envVars": {"A": 1}}, {'envVars["A"]'}),
    "variable that is null": ({"envVars": {"A": None}}, {'envVars["A"]'}),
    "variable too long": ({"envVars": {"A": "x" * 131_070}}, {'envVars["A"]'}),
    "variables as a list": ({"envVars": ["A=1"]}, {"envVars"}),
    "display name of 64": ({"displayName": "x" * 64}, {"displayName"}),
    "display name with NUL": ({"displayName": "a\0b"}, {"displayName"}),
    "annotation with a bad key": ({"annotations": {"-a": "x"}}, {'annotations["-a"]'}),
    "annotation with two slashes": ({"annotations": {"a/b/c": "x"}}, {'annotations["a/b/c"]'}),
    "annotation of the reference": ({"annotations": {"fireworks.ai/a": ""}}, {'annotations["fireworks.ai/a"]'}),
    "annotations too large": ({"annotations": {"a": "x" * (256 << 10)}}, {"annotations"}),
    "unknown field": ({"imageReff": "x"}, {"imageReff"}),
    "unknown field below": ({"pythonExecutor": {**PYTHON, "tragetType": 1}}, {"pythonExecutor.tragetType"}),
    "both spellings": ({"displayName": "a", "display_name": "a"}, {"displayName"}),
    "target type not given": ({"pythonExecutor": {"target": "a"}}, {"pythonExecutor.targetType"}),
    "target type unspecified": (
        {"pythonExecutor": {"target": "a", "targetType": 0}},
        {"pythonExecutor.targetType"},
    ),
    "target type unknown": ({"pythonExecutor": {**PYTHON, "targetType": "EGG"}}, {"pythonExecutor.targetType"}),
    "target not given": ({"pythonExecutor": {"targetType": "FILENAME"}}, {"pythonExecutor.target"}),
    "module with a dash": ({"pythonExecutor": {**PYTHON, "target": "a-b"}}, {"pythonExecutor.target"}),
    "argument of a wrong kind": ({"pythonExecutor": {**PYTHON, "args": [1]}}, {"pythonExecutor.args[0]"}),
    "argument too long": (
        {"pythonExecutor": {**PYTHON, "args": ["x" * 131_072]}},
        {"pythonExecutor.args[0]"},
    ),
    "notebook not given": ({"notebookExecutor": {}}, {"notebookExecutor.notebookFilename"}),
    "notebook that is not JSON": ({"notebookExecutor": {"content": "x"}}, {"notebookExecutor.content"}),
    "notebook that is a list": ({"notebookExecutor": {"content": []}}, {"notebookExecutor.content"}),
    "notebook without nbformat": ({"notebookExecutor": {"content": {"cells": []}}}, {"notebookExecutor.content"}),
    "notebook of half a pair": (
        {"notebookExecutor": {"content": {"nbformat": 4, "a": "\ud800"}}},
        {"notebookExecutor.content"},
    ),
    "notebook put above": (
        {"notebookExecutor": {"notebookFilename": "../a.ipynb", "content": NOTEBOOK}},
        {"notebookExecutor.notebookFilename"},
    ),
    "notebook among the files": (
        {"files": {"a": "x"}, "notebookExecutor": {"notebookFilename": "a", "content": NOTEBOOK}},
        {"notebookExecutor.notebookFilename"},
    ),
    "file above": ({"files": {"../a": "x"}}, {'files["../a"]'}),
    "file with an absolute path": ({"files": {"/etc/passwd": "x"}}, {'files["/etc/passwd"]'}),
    "file without a name": ({"files": {"": "x"}}, {'files[""]'}),
    "file named as a folder": ({"files": {"a/": "x"}}, {'files["a/"]'}),
    "file with a line break": ({"files": {"a\nb": "x"}}, {'files["a\\nb"]'}),
    "file with a long name": ({"files": {"a" * 256: "x"}}, {f'files["{"a" * 100}…"]'}),
    "file below a file": ({"files": {"a": "x", "a/b/c": "x"}}, {'files["a/b/c"]'}),
    "file of a wrong kind": ({"files": {"a": 1}}, {'files["a"]'}),
    "file of half a pair": ({"files": {"a": "\ud800"}}, {'files["a"]'}),
    "files past 100": ({"files": {str(number): "" for number in range(101)}}, {"files"}),
    "files past 5 MiB": ({"files": {"a": "x" * (3 << 20), "b": "x" * (2 << 20) + "y"}}, {"files"}),
    "command not given": ({"shellExecutor": {"command": ""}}, {"shellExecutor.command"}),
    "command too long": ({"shellExecutor": {"command": "x" * 131_072}}, {"shellExecutor.command"}),
    "executor of a wrong kind": ({"shellExecutor": "true"}, {"shellExecutor"}),
    "shared as a string": ({"shared": "true"}, {"shared"}),
    "grace past an hour": ({"stopGracePeriod": "3600.5s"}, {"stopGracePeriod"}),
    "grace as a number": ({"stopGracePeriod": 5}, {"stopGracePeriod"}),
    "cpu of none": ({"resources": {"cpu": "0"}}, {"resources.cpu"}),
    "memory of 1 MiB": ({"resources": {"memory": "1Mi"}}, {"resources.memory"}),
    "resources unknown": ({"resources": {"gpu": 1}}, {"resources.gpu"}),
    "clock of none": ({"timeouts": {"run": "0s"}}, {"timeouts.run"}),
    "clock past ten years": ({"timeouts": {"queue": "999999999999s"}}, {"timeouts.queue"}),
    "clock in minutes": ({"timeouts": {"pull": "5m"}}, {"timeouts.pull"}),
    "attempts past ten": ({"retryPolicy": {"maxAttempts": 11}}, {"retryPolicy.maxAttempts"}),
    "attempts below none": ({"retryPolicy": {"maxAttempts": -1}}, {"retryPolicy.maxAttempts"}),
    "restart with one attempt": (
        {"rankFailurePolicy": "RESTART_ALL", "retryPolicy": {"maxAttempts": 1}},
        {"retryPolicy.maxAttempts"},
    ),
    "back-off shrinking": ({"retryPolicy": {"backoff": {"multiplier": 0.5}}}, {"retryPolicy.backoff.multiplier"}),
    "back-off below its start": (
        {"retryPolicy": {"backoff": {"initial": "60s", "maximum": "5s"}}},
        {"retryPolicy.backoff.maximum"},
    ),
    "rule without an action": ({"retryPolicy": {"rules": [{}]}}, {"retryPolicy.rules[0].action"}),
    "rule on exit 0": (
        {"retryPolicy": {"rules": [{"action": "FAIL", "exitCodes": [1, 0]}]}},
        {"retryPolicy.rules[0].exitCodes[1]"},
    ),
    "rule on a range backwards": (
        {"retryPolicy": {"rules": [{"action": "FAIL", "exitCodes": ["9-3"]}]}},
        {"retryPolicy.rules[0].exitCodes[0]"},
    ),
    "rule on no signal": (
        {"retryPolicy": {"rules": [{"action": "FAIL", "signals": ["SIGNOT"]}]}},
        {"retryPolicy.rules[0].signals[0]"},
    ),
    "rule on a reason in words": (
        {"retryPolicy": {"rules": [{"action": "FAIL", "reasons": ["out of luck"]}]}},
        {"retryPolicy.rules[0].reasons[0]"},
    ),
    "rules too many": ({"retryPolicy": {"rules": [{"action": "FAIL"}] * 21}}, {"retryPolicy.rules"}),
    "policy unknown": ({"rankFailurePolicy": "PANIC"}, {"rankFailurePolicy"}),
    "priority past the limit": ({"priority": 101}, {"priority"}),
    "directory not absolute": ({"workingDirectory": "src"}, {"workingDirectory"}),
    "directory too long": ({"workingDirectory": "/" * 4096}, {"workingDirectory"}),
    "node label of ours": ({"nodeLabels": {"longshore/a": "x"}}, {'nodeLabels["longshore/a"]'}),
    "node label too long": ({"nodeLabels": {"a": "x" * 64, "b c": ""}}, {"nodeLabels", 'nodeLabels["b c"]'}),
    "node label of a wrong kind": ({"nodeLabels": {"a": 1}}, {'nodeLabels["a"]'}),
    "node labels, 33 of them": ({"nodeLabels": {f"a{number}": "" for number in range(33)}}, {"nodeLabels"}),
    "node labels as a string": ({"nodeLabels": "a=b"}, {"nodeLabels"}),
    "kept for a number": ({"ttlAfterFinished": 5}, {"ttlAfterFinished"}),
    "no pool": ({"nodePoolId": None}, {"nodePoolId"}),
    "empty pool": ({"nodePoolId": ""}, {"nodePoolId"}),
    "unknown pool": ({"nodePoolId": "nowhere"}, {"nodePoolId"}),
    "several at once": (
        {"numRanks": 0, "imageRef": "A B", "shared": 1, "nodePoolId": None},
        {"numRanks", "imageRef", "shared", "nodePoolId"},
    ),
}

JSON_TYPE = {"Content-Type": "application/json"}
DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
#: name → (raw body, headers, the field that must be named)
BODIES: dict[str, tuple[bytes, dict[str, str], str]] = {
    "nothing": (b"", JSON_TYPE, "body"),
    "not JSON": (b"{nodePoolId: default}", JSON_TYPE, "body"),
    "cut short": (json.dumps(VALID).encode()[:-1], JSON_TYPE, "body"),
    "a list": (b"[]", JSON_TYPE, "body"),
    "a string": (b'"x"', JSON_TYPE, "body"),
    "over 11 MiB": (json.dumps({**VALID, "displayName": "x" * (11 << 20)}).encode(), JSON_TYPE, "body"),
    "deep objects": (DEEP, JSON_TYPE, "body"),
    "deep lists": (b"[" * 10_000, JSON_TYPE, "body"),
    "NaN": (b'{"nodePoolId": "default", "numRanks": NaN}', JSON_TYPE, "body"),
    "Infinity": (b'{"nodePoolId": "default", "numRanks": -Infinity}', JSON_TYPE, "body"),
    "a number out of range": (b'{"numRanks": 1e999}', JSON_TYPE, "body"),
    "a name twice": (b'{"shared": true, "shared": false}', JSON_TYPE, "shared"),
    "not UTF-8": (b'{"displayName": "\xff"}', JSON_TYPE, "body"),
    "half a surrogate pair": (b'{"nodePoolId": "imaged", "displayName": "\\ud800"}', JSON_TYPE, "displayName"),
    "a form": (b"nodePoolId=default", {"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
    "text": (json.dumps(VALID).encode(), {"Content-Type": "text/plain"}, "Content-Type"),
    "no type": (json.dumps(VALID).encode(), {}, "Content-Type"),
    "another charset": (
        json.dumps(VALID).encode(),
        {"Content-Type": "application/json; charset=utf-16"},
        "Content-Type",
    ),
    "gzip": (b"\x1f\x8b", {**JSON_TYPE, "Content-Encoding": "gzip"}, "Content-Encoding"),
}


def named_fields(answer: httpx.Response, code: int = 3) -> set[str]:
    """The fields that an error names; the body must be the one error body."""
    body = answer.json()
    assert set(body) == {"code", "message", "details"} and body["code"] == code, body
    return {violation["field"] for detail in body["details"] for violation in detail.get("fieldViolations", [])}


def _cases() -> list[Any]:
    cases = []
    for name, (changes, named) in FIELDS.items():
        fields = {key: value for key, value in {**VALID, **changes}.items() if value is not None}
        cases.append(pytest.param(json.dumps(fields).encode(), JSON_TYPE, named, id=name.replace(" ", "-")))
    for name, (body, headers, field) in BODIES.items():
        cases.append(pytest.param(body, headers, {field}, id=f"body-{name.replace(' ', '-')}"))
    return cases


@pytest.mark.parametrize(("body", "headers", "named"), _cases())
def test_create_with_bad_input_is_refused_naming_the_field_and_stores_nothing(
    admin: httpx.Client, count_jobs: Callable[[], int], body: bytes, headers: dict[str, str], named: set[str]
) -> None:
    before = count_jobs()
    answer = admin.post("/batchJobs", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert named_fields(answer) == named
    assert count_jobs() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environmentId", "env"),
        ("snapshotId", "snap"),
        ("role", "r"),
    ],
)
def test_create_with_an_unserved_field_answers_501_naming_it_and_stores_nothing(
    admin: httpx.Client, count_jobs: Callable[[], int], field: str, value: object
) -> None:
    before = count_jobs()
    answer = admin.post("/batchJobs", json={**VALID, field: value})
    assert answer.status_code == 501
    assert answer.json()["code"] == 12 and field in answer.json()["message"]
    assert count_jobs() == before


def test_create_with_an_unknown_field_suggests_the_nearest(admin: httpx.Client) -> None:
    body = {**VALID, "pythonExecutor": {**PYTHON, "tragetType": "MODULE"}}
    message = admin.post("/batchJobs", json=body).json()["message"]
    assert "pythonExecutor.tragetType" in message and "did you mean targetType?" in message


def test_create_with_an_endless_chunked_body_is_refused(
    admin: httpx.Client, count_jobs: Callable[[], int]
) -> None:
    before = count_jobs()
    pieces = (b" " * 65_536 for _ in range(256))
    answer = admin.post("/batchJobs", content=pieces, headers=JSON_TYPE)
    assert answer.status_code == 400 and named_fields(answer) == {"body"}
    assert count_jobs() == before


def test_update_with_more_than_1_mib_is_refused(admin: httpx.Client, create: Callable[..., str]) -> None:
    """Only what brings files may be larger."""
    body = json.dumps({"displayName": "x" * (1 << 20)}).encode()
    answer = admin.patch(f"/batchJobs/{create()}", content=body, headers=JSON_TYPE)
    assert answer.status_code == 400 and named_fields(answer) == {"body"}


def test_create_with_a_large_body_from_nobody_is_refused_as_nobodys(admin: httpx.Client) -> None:
    """And not for what is wrong with the body, which is not looked at."""
    headers = {**JSON_TYPE, "Authorization": "Bearer lsk_0_0"}
    for content in (b" " * (2 << 20), b" " * (20 << 20), (b" " * 65_536 for _ in range(256))):
        status = admin.post("/batchJobs", content=content, headers=headers).status_code
        assert status == 401
