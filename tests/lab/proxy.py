"""A TCP proxy that does to clients what networks do: cuts, black holes, delays, replies that get lost."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path


class ReplyProxy:
    """Forwards a port of its own, or a Unix socket at `at`, to a port of this host or to a Unix socket.

    `withhold_after` arms it: once a client has sent these byte strings, in this order, on one connection, nothing
    comes back on that connection any more; `withheld` says that it did. `drop_reply_after` does that for exactly
    one reply and ends its connection. `cut` refuses, `black_hole` accepts and is silent, `delay_seconds` slows.
    """

    def __init__(self, target: int | Path, *, address: str = "127.0.0.1", at: Path | None = None) -> None:
        self._target = target
        #: a new list each time that it is armed
        self._armed: list[bytes] = []
        #: how many more replies are to be dropped with their connections; None = those armed stay open and silent
        self._drops_left: int | None = None
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_open = threading.Event()
        self._is_open.set()
        self._is_cut = False
        self.delay_seconds = 0.0
        self.dropped_count = 0
        self.withheld = threading.Event()
        self.port = 0
        if at is None:
            self._listener = socket.create_server((address, 0), backlog=512)
            self.port = int(self._listener.getsockname()[1])
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(at))
            self._listener.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    def withhold_after(self, words: Sequence[bytes]) -> None:
        """Arm it for connections from now on and for those that are open."""
        self._armed, self._drops_left = list(words), None

    def drop_reply_after(self, words: Sequence[bytes], count: int = 1) -> None:
        """Likewise; the next `count` replies are lost, each with its connection, and no others."""
        with self._lock:
            self._armed, self._drops_left = list(words), count

    def cut(self) -> None:
        """End every connection, and refuse new ones until `heal`."""
        self._is_cut = True
        self._end_connections()

    def black_hole(self) -> None:
        """Connections stay, new ones are taken, and nothing passes in either direction until `heal`."""
        self._is_open.clear()

    def heal(self) -> None:
        """Forward again; what could not pass meanwhile passes late, as TCP sends it again."""
        self._is_cut = False
        self._is_open.set()

    def close(self) -> None:
        """Cut everything, for good."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._is_cut = True
        self._end_connections()
        self._is_open.set()

    def _end_connections(self) -> None:
        with self._lock:
            ending, self._sockets = self._sockets, set()
        for each in ending:
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = self._connect()
        except OSError:
            # As where nobody listens: the client is told at once.
            client.close()
            return
        with self._lock:
            self._sockets |= {client, server}
        silent = threading.Event()
        back = threading.Thread(target=self._forward, args=(server, client, silent, False), daemon=True)
        back.start()
        self._forward(client, server, silent, True)
        back.join()
        with self._lock:
            self._sockets -= {client, server}
        for each in (client, server):
            each.close()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._target))
        except OSError:
            server.close()
            raise
        return server

    def _forward(
        self, source: socket.socket, sink: socket.socket, silent: threading.Event, is_request: bool
    ) -> None:
        heard = _Heard()
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._is_open.wait()
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if is_request:
                    # Set before the request goes on, so that no reply to it can slip through.
                    if heard.all_of(self._armed, data) and self._takes_one():
                        silent.set()
                elif silent.is_set():
                    self.withheld.set()
                    if self._drops_left is not None:
                        _end(source)
                        _end(sink)
                        return
                    continue
                sink.sendall(data)
            if is_request or not silent.is_set():
                # Of a connection that is silent the client does not even hear that it has ended.
                sink.shutdown(socket.SHUT_WR)

    def _takes_one(self) -> bool:
        with self._lock:
            if self._drops_left is None:
                return True
            if self._drops_left == 0:
                return False
            self._drops_left -= 1
            self.dropped_count += 1
            return True


class _Heard:
    """What one connection has been heard to send of the words that are awaited, in their order."""

    def __init__(self) -> None:
        self._words: list[bytes] = []
        self._count = 0

    def all_of(self, words: list[bytes], data: bytes) -> bool:
        """Whether this completes them. Each list is heard from its start: a connection that is kept open may have
        sent a part of what was awaited before, and another connection the rest."""
        if words is not self._words:
            self._words, self._count = words, 0
        is_complete = False
        while words and words[self._count] in data:
            data = data.partition(words[self._count])[2]
            self._count = (self._count + 1) % len(words)
            is_complete = is_complete or self._count == 0
        return is_complete


def _end(each: socket.socket) -> None:
    """End a connection for both who read from it and who write to it."""
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
