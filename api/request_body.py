"""Request bodies: their size, counted as bytes arrive, and their type. What is in them is read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request

from core.errors import InvalidArgument
from core.settings import Settings

_BODY = "body"


async def _read_body(request: Request) -> bytes:
    settings: Settings = request.app.state.platform.settings
    return await _read(request, settings.max_body_bytes)


async def _read_upload(request: Request) -> bytes:
    """Text takes up to twice its size where it is written as a JSON string, unless it is hardly a text."""
    settings: Settings = request.app.state.platform.settings
    return await _read(request, settings.max_body_bytes + 2 * settings.max_upload_bytes)


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body's bytes, whatever they are. Raises InvalidArgument past the limit.

    A declared length is believed when it is too large; what arrives is counted all the same, because a chunked
    body declares none.
    """
    declared = request.headers.get("content-length", "")
    body = bytearray()
    if not declared.isdecimal() or int(declared) <= max_bytes:
        async for piece in request.stream():
            body += piece
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    raise InvalidArgument.field(_BODY, f"is larger than the limit of {max_bytes} bytes")


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
