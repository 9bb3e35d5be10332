"""Where requests go and as whom, and what httpx's requests, answers and failures are to a flow."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from client.errors import SettingsMissing
from client.exchange.effects import Broken, Pause, Reply, Request

#: The platform says something every 15 seconds, if only that it is there.
_SILENT_SECONDS = 50.0
_CONNECT_SECONDS = 5.0
STREAM_TIMEOUT = httpx.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS)
#: What httpx raises where a connection fails. A URL that is none is the caller's fault, and is not among them.
FAILURES = (httpx.RequestError, httpx.StreamError)
#: Those in which nothing can have reached the platform.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


_ERRNO = re.compile(r"^\[Errno \d+\] ")


@dataclass(frozen=True)
class Connection:
    """Where requests go, as whom, and whom to tell that they are tried again."""

    url: str
    account: str
    headers: Mapping[str, str]
    timeout_seconds: float
    trusted: ssl.SSLContext | bool
    on_retry: Callable[[str], None] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What both kinds of httpx client are made with."""
        return {
            "headers": dict(self.headers),
            "timeout": httpx.Timeout(self.timeout_seconds, connect=_CONNECT_SECONDS),
            "verify": self.trusted,
            "limits": httpx.Limits(max_connections=100, max_keepalive_connections=20),
        }

    def sent(self, request: Request) -> dict[str, Any]:
        """httpx' arguments for a request."""
        content = request.content
        kind = {} if content is None else {"Content-Type": "application/json"}
        return {
            "method": request.method,
            "url": f"{self.url}/v1/accounts/{self.account}{request.path}",
            "params": request.parameters,
            "headers": {**kind, **request.headers},
            "content": content,
        }

    def broken(self, error: Exception) -> Broken:
        """What a failure of httpx is to a flow."""
        said = _ERRNO.sub("", str(error)) or type(error).__name__
        sent = not isinstance(error, _NOT_SENT)
        return Broken(f"{self.url} {'broke off' if sent else 'cannot be reached'}: {said}", sent=sent)

    def retrying(self, pause: Pause) -> None:
        if pause.because and self.on_retry is not None:
            self.on_retry(pause.because)


def trusted_by(ca_file: str) -> ssl.SSLContext | bool:
    """Whose signatures hold: of the certificates in a file or folder, or where "" of the usual ones.

    Raises SettingsMissing where they cannot be read.
    """
    if not ca_file:
        return True
    path = Path(ca_file)
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=ca_file)
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise SettingsMissing(f"the ca_file {path} has no certificates in PEM") from None
    except OSError as error:
        raise SettingsMissing(f"the ca_file {path} cannot be read: {error.strerror}") from None


def reply_of(response: httpx.Response, content: bytes = b"") -> Reply:
    """An answer, as flows see it."""
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)
