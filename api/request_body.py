"""Request bodies: their size, counted as bytes arrive, and their type. What is in them is read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import InvalidArgument

_BODY = "body"


class BodyLimit:
    """ASGI middleware: a body past the limit is an InvalidArgument for whoever reads it.

    A declared length is believed when it is too large; what arrives is counted all the same, because a
    chunked body declares none.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((int(v) for n, v in scope["headers"] if n == b"content-length" and v.isdigit()), 0)
        arrived = 0

        async def counting_receive() -> Message:
            nonlocal arrived
            if declared > self._max_bytes:
                raise self._too_large()
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, counting_receive, send)

    def _too_large(self) -> InvalidArgument:
        return InvalidArgument.field(_BODY, f"is larger than the limit of {self._max_bytes} bytes")


async def whole_body(request: Request) -> bytes:
    """The body's bytes, whatever they are. Raises InvalidArgument past the limit."""
    return await request.body()


Body = Annotated[bytes, Depends(whole_body)]


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
