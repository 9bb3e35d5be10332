"""Every error's way onto the wire: one table, one body. Nothing else in `api/` chooses a status.

The body is `google.rpc.Status` in JSON, for unknown routes and wrong methods too; FastAPI's own 422 and
`{"detail": …}` never leave the house. Status by code follows API.md ("Conventions").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_trace import current_request_id
from api.wire.json_text import dump_json
from core import errors

log = structlog.get_logger(__name__)

_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_REQUEST_INFO = "type.googleapis.com/google.rpc.RequestInfo"
_RETRY_AFTER_SECONDS = 2


class GrpcCode(IntEnum):
    """The numbers of `google.rpc.Code` that are answered here."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class Answer:
    """How one kind of error is answered; `message`, where set, is said instead of the error's own text."""

    status: int
    code: GrpcCode
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()


_LATER = (("Retry-After", str(_RETRY_AFTER_SECONDS)),)

#: The one table. The nearest class of an error's family decides.
ANSWERS: dict[type[Exception], Answer] = {
    errors.InvalidArgument: Answer(400, GrpcCode.INVALID_ARGUMENT),
    errors.FailedPrecondition: Answer(400, GrpcCode.FAILED_PRECONDITION),
    # One sentence for a missing, a malformed, an unknown and a revoked key: nothing to learn from it.
    errors.Unauthenticated: Answer(
        401,
        GrpcCode.UNAUTHENTICATED,
        "send a valid API key as `Authorization: Bearer <key>`",
        (("WWW-Authenticate", "Bearer"),),
    ),
    errors.PermissionDenied: Answer(403, GrpcCode.PERMISSION_DENIED),
    errors.NotFound: Answer(404, GrpcCode.NOT_FOUND),
    errors.AlreadyExists: Answer(409, GrpcCode.ALREADY_EXISTS),
    errors.Superseded: Answer(409, GrpcCode.ABORTED, "the resource was changed by someone else; try again"),
    errors.ResourceExhausted: Answer(429, GrpcCode.RESOURCE_EXHAUSTED, headers=_LATER),
    errors.NotImplementedYet: Answer(501, GrpcCode.UNIMPLEMENTED),
    # Its own text names hosts and ports, which belong in the log.
    errors.Unavailable: Answer(
        503, GrpcCode.UNAVAILABLE, "a part of the platform does not answer now; try again", _LATER
    ),
    errors.NoObjectStore: Answer(
        503,
        GrpcCode.UNAVAILABLE,
        "this is in the object store, and this api has none: set LONGSHORE_OBJECT_STORE_URL for all processes",
        _LATER,
    ),
    Exception: Answer(500, GrpcCode.INTERNAL, "internal error"),
}

_OF_HTTP_STATUS = {
    404: Answer(404, GrpcCode.NOT_FOUND, "there is nothing at this path"),
    405: Answer(501, GrpcCode.UNIMPLEMENTED, "Method Not Allowed"),
}


def answer_to(error: Exception) -> Answer:
    """The table's row for an error."""
    return next(ANSWERS[cls] for cls in type(error).__mro__ if cls in ANSWERS)


def error_response(answer: Answer, message: str = "", details: Sequence[dict[str, Any]] = ()) -> Response:
    """The one error body."""
    body = {"code": int(answer.code), "message": message or answer.message, "details": list(details)}
    return Response(dump_json(body), answer.status, dict(answer.headers), media_type="application/json")


def install_errors(app: FastAPI) -> None:
    """Give every error that a route can raise its answer."""
    app.add_exception_handler(errors.LongshoreError, _on_own_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_framework_fault)


class UnexpectedErrors:
    """ASGI middleware: what nobody foresaw becomes a 500 with an id that is also in the log.

    Starlette's own handler would raise the error again after answering, and the server would log it twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except ClientDisconnect:
            log.info("caller_left", path=scope["path"])
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            await _unexpected(error, scope["path"])(scope, receive, send)


def _unexpected(error: Exception, path: str) -> Response:
    request_id = current_request_id()
    log.error("request_failed", request_id=request_id, path=path, exc_info=error)
    return error_response(answer_to(error), details=[{"@type": _REQUEST_INFO, "requestId": request_id}])


async def _on_own_error(request: Request, error: Exception) -> Response:
    # A coroutine, as nothing here waits: a plain function would cost every refusal a change of threads.
    answer = answer_to(error)
    if answer.status >= 500 and not isinstance(error, errors.NotImplementedYet):
        if answer.code is GrpcCode.INTERNAL:
            return _unexpected(error, request.url.path)
        log.warning("request_refused", path=request.url.path, error=str(error))
    details = []
    if isinstance(error, errors.InvalidArgument) and error.violations:
        found = [{"field": each.field, "description": each.description} for each in error.violations]
        details.append({"@type": _BAD_REQUEST, "fieldViolations": found})
    if isinstance(error, errors.ResourceExhausted) and error.retry_after_seconds is not None:
        answer = replace(answer, headers=(("Retry-After", str(error.retry_after_seconds)),))
    return error_response(answer, answer.message or str(error), details)


def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = _OF_HTTP_STATUS.get(status)
    if answer is None:
        answer = ANSWERS[errors.InvalidArgument if status < 500 else Exception]
        log.warning("framework_error", path=request.url.path, status=status)
    return error_response(answer, answer.message or "the request could not be read")


def _on_framework_fault(request: Request, error: Exception) -> Response:
    """Routes here declare nothing that FastAPI could find wrong; if one ever does, the body stays ours."""
    log.warning("framework_validation", path=request.url.path, error=str(error))
    return error_response(ANSWERS[errors.InvalidArgument], "the request could not be read")
