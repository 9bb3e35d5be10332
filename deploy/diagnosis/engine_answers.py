"""One engine, asked over plain HTTP with a short deadline: why it does not answer is told as exactly as it can be.

Docker's SDK makes one error of a socket that nobody serves, one that is not there and one that may not be used.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from enum import Enum
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from core.errors import NodeUnreachable
from worker.docker_engine.transport import EngineAccess, ssh_tunnel, tls_files

#: Less than a check has.
ANSWER_SECONDS = 4.0
_PLAIN_PORT = 2375


class Why(Enum):
    """Why an engine does not answer."""

    NO_SOCKET = "there is no such socket"
    NOBODY_LISTENS = "nobody listens there"
    NOT_PERMITTED = "this user may not use the socket"
    HANGS = f"it does not answer within {ANSWER_SECONDS:g} s"
    OTHERWISE = ""


class EngineSilent(Exception):
    """The engine does not answer; the text says why."""

    def __init__(self, why: Why, says: str = "") -> None:
        super().__init__(says or why.value)
        self.why = why


class EngineAnswers:
    """What an engine says of itself. Raises EngineSilent, each time that it is asked, where it does not."""

    def __init__(self, endpoint: str, access: EngineAccess) -> None:
        self.endpoint = endpoint
        self._access = access

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """GET /info."""
        found: Mapping[str, Any] = self._ask("/info")
        return found

    @cached_property
    def networks(self) -> list[Mapping[str, Any]]:
        """GET /networks."""
        found: list[Mapping[str, Any]] = self._ask("/networks")
        return found

    def ask_time(self) -> str:
        """The engine's clock, now."""
        return str(self._ask("/info")["SystemTime"])

    def _ask(self, path: str) -> Any:
        try:
            with closing(self._connection()) as connection:
                connection.request("GET", path, headers={"Host": "engine"})
                answer = connection.getresponse()
                content = answer.read()
        except EngineSilent:
            raise
        except NodeUnreachable as error:
            raise EngineSilent(Why.OTHERWISE, str(error)) from None
        except FileNotFoundError:
            raise EngineSilent(Why.NO_SOCKET) from None
        except ConnectionRefusedError:
            raise EngineSilent(Why.NOBODY_LISTENS) from None
        except PermissionError:
            raise EngineSilent(Why.NOT_PERMITTED) from None
        except TimeoutError:
            raise EngineSilent(Why.HANGS) from None
        except (OSError, HTTPException) as error:
            raise EngineSilent(Why.OTHERWISE, self._tls_fault() or f"the connection fails: {error}") from None
        try:
            if answer.status != 200:
                raise ValueError
            return json.loads(content)
        except ValueError:
            raise EngineSilent(Why.OTHERWISE, f"what answers there is no engine ({answer.status})") from None

    def _connection(self) -> HTTPConnection:
        connection = HTTPConnection("engine", timeout=ANSWER_SECONDS)
        connection.sock = self._socket()
        return connection

    def _socket(self) -> socket.socket:
        parts = urlsplit(self.endpoint)
        if parts.scheme == "tcp":
            files = tls_files(self.endpoint, self._access)
            default = _PLAIN_PORT if files is None else files.port
            plain = socket.create_connection((parts.hostname or "", parts.port or default), ANSWER_SECONDS)
            return plain if files is None else files.context().wrap_socket(plain, server_hostname=files.host)
        path = self.endpoint.removeprefix("unix://")
        tunnel = ssh_tunnel(self.endpoint, self._access)
        if tunnel is not None:
            try:
                tunnel.wait()
            except NodeUnreachable:
                tunnel.close()
                raise
            path = str(tunnel.socket)
        to_engine = socket.socket(socket.AF_UNIX)
        to_engine.settimeout(ANSWER_SECONDS)
        try:
            to_engine.connect(path)
        except OSError:
            to_engine.close()
            raise
        return to_engine

    def _tls_fault(self) -> str | None:
        try:
            files = tls_files(self.endpoint, self._access)
            return None if files is None else files.fault()
        except NodeUnreachable as error:
            return str(error)
