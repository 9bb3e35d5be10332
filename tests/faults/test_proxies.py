"""The proxy that stands between the platform and its servers: it does what it is told, and only that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness.proxies import through
from tests.lab.proxy import ReplyProxy


class Echo:
    """Answers every line with `ok` and the line; counts the lines that it has taken."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[bytes] = []
        self.path = folder / "s"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, client.makefile("rwb") as file:
            for line in file:
                self.lines.append(line)
                file.write(b"ok " + line)
                file.flush()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    started = Echo(tmp_path)
    yield started
    started.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[ReplyProxy]:
    started = ReplyProxy(echo.path)
    yield started
    started.close()


def connect(proxy: ReplyProxy, seconds: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=seconds)


def ask(client: socket.socket, line: bytes) -> bytes:
    client.sendall(line)
    return client.recv(100)


def test_proxy_that_is_told_nothing_forwards(proxy: ReplyProxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"one\n") == b"ok one\n"
        assert ask(client, b"two\n") == b"ok two\n"


def test_proxy_drops_exactly_one_reply_with_its_connection(proxy: ReplyProxy, echo: Echo) -> None:
    proxy.drop_reply_after([b"COMMIT"])
    with connect(proxy) as client:
        assert ask(client, b"BEGIN\n") == b"ok BEGIN\n"
        assert ask(client, b"COMMIT\n") == b""
    with connect(proxy) as client:
        assert ask(client, b"COMMIT\n") == b"ok COMMIT\n"
    assert proxy.dropped_count == 1
    assert echo.lines == [b"BEGIN\n", b"COMMIT\n", b"COMMIT\n"], "the server took what went unanswered"


def test_proxy_forgets_what_it_heard_of_words_that_are_not_awaited_any_more(proxy: ReplyProxy) -> None:
    proxy.drop_reply_after([b"BEGIN", b"COMMIT"])
    with connect(proxy) as client:
        assert ask(client, b"BEGIN\n") == b"ok BEGIN\n"
        proxy.drop_reply_after([b"DELETE"])
        assert ask(client, b"DELETE\n") == b"", "the rest of the former words is not waited for"
    assert proxy.dropped_count == 1


def test_proxy_hears_words_in_their_order_only(proxy: ReplyProxy) -> None:
    proxy.drop_reply_after([b"INSERT", b"COMMIT"])
    with connect(proxy) as client:
        assert ask(client, b"COMMIT\n") == b"ok COMMIT\n"
        assert ask(client, b"INSERT\n") == b"ok INSERT\n"
        assert ask(client, b"COMMIT\n") == b""


def test_proxy_that_is_cut_ends_connections_and_refuses_until_it_heals(proxy: ReplyProxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"one\n") == b"ok one\n"
        proxy.cut()
        assert client.recv(100) == b""
    with connect(proxy) as client:
        assert client.recv(100) == b""
    proxy.heal()
    with connect(proxy) as client:
        assert ask(client, b"two\n") == b"ok two\n"


def test_proxy_that_is_a_black_hole_is_silent_on_open_and_new_connections_until_it_heals(
    proxy: ReplyProxy, echo: Echo
) -> None:
    with connect(proxy) as old:
        assert ask(old, b"one\n") == b"ok one\n"
        proxy.black_hole()
        with connect(proxy, seconds=0.3) as new:
            for client in (old, new):
                client.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    ask(client, b"two\n")
            assert echo.lines == [b"one\n"]
            proxy.heal()
            for client in (old, new):
                client.settimeout(30)
                assert client.recv(100) == b"ok two\n"


def test_url_through_a_proxy_keeps_all_but_the_address(proxy: ReplyProxy) -> None:
    here = f"127.0.0.1:{proxy.port}"
    assert through("redis+socket:///run/valkey.sock?virtual_host=3", proxy) == f"redis://{here}/3"
    assert through("postgresql://me:pw@127.0.0.1:5/db", proxy) == f"postgresql://me:pw@{here}/db"
