"""The interactive documentation at `/docs`: Swagger UI beside this file, served without a network.

The policy of the page forbids the browser every other host, so that a key typed into it goes nowhere else.
Nothing here is known of a resource: the page reads `/openapi.json`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, Request, Response

from core.errors import NotFound

router = APIRouter(include_in_schema=False)

_FOLDER: Final = Path(__file__).parent
#: Swagger UI sets styles on elements and shows its icons as data; scripts are those of this host and no others.
_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
#: What is served, by the last part of its path.
ASSETS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "page.js": ("page.js", "text/javascript"),
        "page.css": ("page.css", "text/css"),
        "swagger-ui-bundle.js": ("swagger_ui/swagger-ui-bundle.js", "text/javascript"),
        "swagger-ui.css": ("swagger_ui/swagger-ui.css", "text/css"),
    }
)


@router.get("/docs")
def docs_page(request: Request) -> Response:
    """The page itself."""
    return _file(request, "page.html", "text/html")


@router.get("/docs/{asset}")
def docs_asset(request: Request, asset: str) -> Response:
    """A script or a style sheet of the page."""
    found = ASSETS.get(asset)
    if found is None:
        raise NotFound("there is nothing at this path")
    return _file(request, *found)


def _file(request: Request, name: str, media_type: str) -> Response:
    content, tag = _content(name)
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@cache
def _content(name: str) -> tuple[bytes, str]:
    """Bytes and ETag of one of the few files above."""
    content = (_FOLDER / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
