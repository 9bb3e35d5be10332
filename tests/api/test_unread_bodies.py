"""Requests that are refused before their bodies are read: whoever still sends hears why all the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.api.conftest import ACCOUNT, Served

TOO_MUCH = 16 << 20
#: Shorter than what an api waits for the rest of a body.
SECONDS = 5


@contextmanager
def asking(served: Served, *headers: str, key: str) -> Iterator[socket.socket]:
    """A connection on which a body of `TOO_MUCH` bytes is announced, and that nothing more will be asked."""
    host, port = served.url.removeprefix("http://").split(":")
    head = [
        f"POST /v1/accounts/{ACCOUNT}/batchJobs HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {TOO_MUCH}",
        "Connection: close",
        *headers,
    ]
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
        yield connection


def answer_on(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    came = b""
    while piece := connection.recv(65536):
        came += piece
    return came


@pytest.mark.parametrize(("is_known", "status", "word"), [(True, 400, "is larger than"), (False, 401, "key")])
def test_answer_reaches_whoever_sends_all_before_listening(
    served: Served, is_known: bool, status: int, word: str
) -> None:
    for _ in range(3):
        with asking(served, key=served.user_key if is_known else "none") as connection:
            connection.sendall(b"y" * TOO_MUCH)
            answer = answer_on(connection).decode()
            assert answer.startswith(f"HTTP/1.1 {status} ") and word in answer


def test_answer_does_not_wait_for_the_rest_of_a_body(served: Served) -> None:
    with asking(served, key=served.user_key) as connection:
        connection.sendall(b"{")
        connection.settimeout(SECONDS)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_body_that_is_held_back_until_it_is_wanted_is_never_asked_for(served: Served) -> None:
    with asking(served, "Expect: 100-continue", key=served.user_key) as connection:
        connection.settimeout(SECONDS)
        assert answer_on(connection).startswith(b"HTTP/1.1 400 ")
