"""Errors in the document: one body for all, and one answer per status, read out of `api.errors`' table."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from api.errors import ANSWERS, Answer, GrpcCode

Json = dict[str, Any]

_STATUS = "#/components/schemas/Status"
_HEADERS: Json = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"schema": {"const": "Bearer"}},
}
#: Of every operation: a key is asked for, a query can be wrong, a path can name nothing, a limit can be reached.
_GUARDED = (400, 401, 404, 429, 503)
#: Of those that change something.
_CHANGES = (403, 409)
_ANY = (500,)


def _details(type_name: str, properties: Json) -> Json:
    type_url = f"type.googleapis.com/google.rpc.{type_name}"
    return {
        "type": "object",
        "properties": {"@type": {"const": type_url}, **properties},
        "required": ["@type", *properties],
        "additionalProperties": False,
    }


_FIELD_VIOLATION = {
    "type": "object",
    "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
    "required": ["field", "description"],
    "additionalProperties": False,
}

ERROR_SCHEMAS: Json = {
    "Status": {
        "type": "object",
        "description": "Every error's body: `google.rpc.Status`.",
        "properties": {
            "code": {
                "type": "integer",
                "description": ", ".join(f"{code.value} {code.name}" for code in GrpcCode),
                "enum": [code.value for code in GrpcCode],
            },
            "message": {"type": "string", "description": "A sentence for a person."},
            "details": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/BadRequest"},
                        {"$ref": "#/components/schemas/RequestInfo"},
                        {"$ref": "#/components/schemas/ErrorInfo"},
                    ]
                },
            },
        },
        "required": ["code", "message", "details"],
        "additionalProperties": False,
    },
    "BadRequest": {
        "description": "Every bad field at once: `google.rpc.BadRequest`.",
        **_details("BadRequest", {"fieldViolations": {"type": "array", "items": _FIELD_VIOLATION}}),
    },
    "RequestInfo": {
        "description": "The id under which the log has more: `google.rpc.RequestInfo`.",
        **_details("RequestInfo", {"requestId": {"type": "string"}}),
    },
    "ErrorInfo": {
        "description": "What each part that was asked has said: `google.rpc.ErrorInfo`.",
        **_details(
            "ErrorInfo",
            {
                "reason": {"type": "string"},
                "domain": {"type": "string"},
                "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        ),
    },
}


def response_name(status: int) -> str:
    """The component of an error's answer."""
    return "".join(word.capitalize() for word in HTTPStatus(status).phrase.split())


def error_statuses(method: str, *, guarded: bool, declared: Iterable[int]) -> list[int]:
    """The statuses of an operation's errors: the usual ones, and those that its route declares."""
    usual = (*_ANY, *(_GUARDED if guarded else ()), *(_CHANGES if guarded and method != "get" else ()))
    return sorted({*usual, *declared})


def error_responses() -> Json:
    """For `components.responses`, by `response_name`."""
    by_status: dict[int, list[Answer]] = {}
    for answer in ANSWERS.values():
        by_status.setdefault(answer.status, []).append(answer)
    return {response_name(status): _response(answers) for status, answers in sorted(by_status.items())}


def _response(answers: list[Answer]) -> Json:
    codes = sorted({answer.code for answer in answers})
    status = answers[0].status
    found: Json = {
        "description": f"{HTTPStatus(status).phrase}: {' or '.join(code.name for code in codes)}",
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [{"$ref": _STATUS}, {"properties": {"code": {"enum": [int(code) for code in codes]}}}]
                },
                "example": {"code": int(codes[0]), "message": answers[0].message or "…", "details": []},
            }
        },
    }
    headers = {name: _HEADERS[name] for answer in answers for name, _ in answer.headers}
    if headers:
        found["headers"] = {name: {"required": True, **header} for name, header in headers.items()}
    return found
