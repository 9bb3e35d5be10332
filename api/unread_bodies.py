"""Bodies of requests that are answered before they are read: read to their end, and thrown away, before the
connection is closed.

A connection that is closed while something of a request is unread is reset, and whoever still sends may lose the
answer, which says what is wrong with the request (RFC 9112, 9.6). A proxy makes a 502 of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Whoever needs longer for what nobody reads may lose the answer.
_LINGER_SECONDS = 10.0


class UnreadBodies:
    """ASGI middleware around all others: an answer is sent at once, and ends when the request has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        is_read = was_asked_for = False

        async def noting_receive() -> Message:
            nonlocal is_read, was_asked_for
            was_asked_for = True
            message = await receive()
            is_read = is_read or message["type"] != "http.request" or not message.get("more_body")
            return message

        async def lingering_send(message: Message) -> None:
            # Who waits to be told to go on has sent nothing, and is not told so now.
            sends = was_asked_for or "expect" not in headers
            if message["type"] != "http.response.body" or message.get("more_body") or is_read or not sends:
                await send(message)
                return
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_SECONDS):
                    while not is_read:
                        await noting_receive()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, noting_receive, lingering_send)
