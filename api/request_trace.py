"""Every request has an id, which is in its answer and in every line that is logged for it, and is measured.

The id is the caller's `X-Request-Id` where that is one that may be logged and sent back, or a new one. ASGI
middleware around all others, so that what they answer is seen too.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, Final

import structlog
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.measures import REQUEST_SECONDS

HEADER: Final = "X-Request-Id"
#: What an id of a caller may be: nothing that would need quoting in a log or a header.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Whoever asks for paths that are not there must not make series.
_NO_ROUTE, _OTHER_METHOD = "(none)", "(other)"


class RequestTrace:
    """Gives requests their ids and times their answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._templates: dict[Any, list[str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = accepted_id(Headers(scope=scope).get(HEADER)) or secrets.token_hex(8)
        begun = time.perf_counter()

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
                self._observe(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, noting_send)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
        REQUEST_SECONDS.labels(self._template(scope), method, str(status)).observe(seconds)

    def _template(self, scope: Scope) -> str:
        """The path of the route that was taken, with the prefixes that its own object does not know."""
        if not self._templates:
            for context in iter_route_contexts(scope["app"].routes):
                if context.path and context.endpoint:
                    self._templates.setdefault(context.endpoint, []).append(context.path)
        own = getattr(scope.get("route"), "path", "")
        found = (path for path in self._templates.get(scope.get("endpoint"), ()) if path.endswith(own))
        return next(found, _NO_ROUTE)


def accepted_id(given: str | None) -> str | None:
    """The caller's id if it may be used."""
    return given if given is not None and _ACCEPTED.fullmatch(given) else None


def current_request_id() -> str:
    """The id of the request that is being served; a new one outside of any."""
    return str(structlog.contextvars.get_contextvars().get("request_id") or secrets.token_hex(8))
