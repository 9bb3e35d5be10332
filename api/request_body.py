"""Request bodies: their size, counted as bytes arrive, and their type. What is in them is read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from api.turns import Turns
from core.errors import InvalidArgument
from core.settings import Settings

_BODY = "body"
_LARGE_BYTES = 1 << 20
_LARGE = Turns(2, 5.0, "large requests are read")


async def _read_body(request: Request) -> bytes:
    return await _read(request, _settings(request).max_body_bytes)


async def _read_upload(request: Request) -> bytes:
    """Text takes up to twice its size where it is written as a JSON string, unless it is hardly a text."""
    settings = _settings(request)
    return await _read(request, settings.max_body_bytes + 2 * settings.max_upload_bytes)


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body's bytes, whatever they are. Raises InvalidArgument past the limit; before that, where more than
    `max_body_bytes` come from nobody, Unauthenticated or ResourceExhausted.

    A declared length is believed when it is too large; what arrives is counted all the same, because a chunked
    body declares none.
    """
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() else 0
    body, pieces, is_known = bytearray(), request.stream(), False
    while True:
        if size > _settings(request).max_body_bytes and not is_known:
            await run_in_threadpool(request.app.state.platform.authentication.caller, request)
            is_known = True
        if size > max_bytes:
            raise InvalidArgument.field(_BODY, f"is larger than the limit of {max_bytes} bytes")
        piece = await anext(pieces, None)
        if piece is None:
            return bytes(body)
        body += piece
        size = max(size, len(body))


def _settings(request: Request) -> Settings:
    found: Settings = request.app.state.platform.settings
    return found


def read_in_turn(body: bytes) -> AbstractContextManager[None]:
    """To be held while a body is read as JSON: a large one takes many times its size meanwhile, so few at a time.

    Raises Unavailable where the others take too long.
    """
    return _LARGE.take() if len(body) > _LARGE_BYTES else nullcontext()


#: A request's body, and that of a request which brings files.
Body = Annotated[bytes, Depends(_read_body)]
UploadBody = Annotated[bytes, Depends(_read_upload)]


def json_text(request: Request, body: bytes, *, absent: bytes = b"") -> bytes:
    """The body, if it claims to be JSON as it is; `absent` in place of no body. Raises InvalidArgument."""
    if not body and absent:
        return absent
    _check_headers(request.headers)
    return body


def _check_headers(headers: Mapping[str, str]) -> None:
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise InvalidArgument.field("Content-Type", "must be application/json")
    name, _, charset = parameters.replace(" ", "").lower().partition("=")
    if name == "charset" and charset.strip('"') not in ("utf-8", "utf8"):
        raise InvalidArgument.field("Content-Type", "must be application/json in UTF-8")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidArgument.field("Content-Encoding", "must not be set: send the JSON as it is")
