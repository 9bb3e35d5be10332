"""`GET /openapi.json`: made on the first request, said as the same bytes to every other."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from api.openapi.document import finished_document
from api.wire.json_text import dump_json

URL = "/openapi.json"


def install_openapi(app: FastAPI) -> None:
    """Serve the finished document of `app`, whose own `openapi_url` must be None."""
    made: dict[str, Any] = {}
    text = b""

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(finished_document(app))
        return made

    def serve(_request: Request) -> Response:
        nonlocal text
        text = text or dump_json(openapi())
        return Response(text, media_type="application/json", headers={"Cache-Control": "no-cache"})

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it
    app.add_route(URL, serve, include_in_schema=False)
