"""Request bodies: their size, counted as bytes arrive, and their type. What is in them is read elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from core.errors import InvalidArgument, Unavailable

_BODY = "body"
_LARGE_BYTES = 1 << 20
_AT_ONCE, _WAIT_SECONDS = 2, 5.0
_turns = threading.BoundedSemaphore(_AT_ONCE)


async def _read_body(request: Request) -> bytes:
    limit: int = request.app.state.platform.settings.max_body_bytes
    return await _read(request, limit, limit)


async def _read_upload(request: Request) -> bytes:
    """Text takes up to twice its size where it is written as a JSON string, unless it is hardly a text."""
    settings = request.app.state.platform.settings
    small: int = settings.max_body_bytes
    return await _read(request, small, small + 2 * settings.max_upload_bytes)


async def _read(request: Request, small_bytes: int, max_bytes: int) -> bytes:
    """The body's bytes, whatever they are. Raises InvalidArgument past the limit; before that, where more than a
    small body comes from nobody, Unauthenticated or ResourceExhausted.

    A declared length is believed when it is too large; what arrives is counted all the same, because a chunked
    body declares none.
    """
    declared = request.headers.get("content-length", "")
    expected = int(declared) if declared.isdecimal() else 0
    body = bytearray()
    is_known = small_bytes == max_bytes
    if expected > small_bytes and not is_known:
        await _know(request)
        is_known = True
    if expected <= max_bytes:
        async for piece in request.stream():
            body += piece
            if len(body) > small_bytes and not is_known:
                await _know(request)
                is_known = True
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    raise InvalidArgument.field(_BODY, f"is larger than the limit of {max_bytes} bytes")


async def _know(request: Request) -> None:
    await run_in_threadpool(request.app.state.platform.authentication.caller, request)


@contextmanager
def read_in_turn(body: bytes) -> Iterator[None]:
    """To be held while a body is read as JSON: a large one takes many times its size meanwhile, so few at a time.

    Raises Unavailable where the others take too long.
    """
    if len(body) <= _LARGE_BYTES:
        yield
        return
    if not _turns.acquire(timeout=_WAIT_SECONDS):
        raise Unavailable("too many large requests are being read just now")
    try:
        yield
    finally:
        _turns.release()


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
