"""A file as an answer: pieces that come one after the other, and no proper end where they cannot be whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from urllib.parse import quote

import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

log = structlog.get_logger(__name__)


class Broken(Exception):
    """The download cannot be whole: the client must see that, and gets no proper end."""


class DownloadResponse(StreamingResponse):
    """A download that gives its place back however it ends, and has no proper end where it is not whole."""

    def __init__(
        self,
        held: ExitStack,
        pieces: AsyncIterator[bytes],
        *,
        media_type: str,
        file_name: str,
        more_headers: Mapping[str, str] | None = None,
    ) -> None:
        headers = {
            "Content-Disposition": _attachment(file_name),
            # Whatever a job prints or leaves, no browser is to run it.
            "X-Content-Type-Options": "nosniff",
            # An interrupted download is to be asked for again: there may be more by then.
            "Cache-Control": "no-store",
            **(more_headers or {}),
        }
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            try:
                await super().__call__(scope, receive, send)
            except Broken as error:
                # An answer that is not completed has its connection closed by the server.
                log.warning("download_broken", path=scope["path"], why=str(error))


def _attachment(file_name: str) -> str:
    """As RFC 6266 says: what every client can read, and beside it the name as it is where that is another."""
    plain = "".join(each if " " <= each <= "~" and each not in '"\\%' else "_" for each in file_name)
    extended = "" if plain == file_name else f"; filename*=UTF-8''{quote(file_name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'
