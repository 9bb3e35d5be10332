"""A TCP proxy that can withhold replies: what a network does to a request whose effect has already happened."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence


class ReplyProxy:
    """Forwards to a port of this host. `withhold_after` arms it: once a client has sent these byte strings, in
    this order, on one connection, nothing comes back on that connection any more; `withheld` says that it did.
    """

    def __init__(self, target_port: int, *, address: str = "127.0.0.1") -> None:
        self._target_port = target_port
        self._armed: tuple[bytes, ...] = ()
        self._sockets: list[socket.socket] = []
        self.withheld = threading.Event()
        self._listener = socket.create_server((address, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def withhold_after(self, words: Sequence[bytes]) -> None:
        """Arm it for connections from now on and for those that are open."""
        self._armed = tuple(words)

    def close(self) -> None:
        """Cut everything."""
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [client, server]
                silent = threading.Event()
                for source, sink, is_request in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._forward, args=(source, sink, silent, is_request), daemon=True
                    ).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, silent: threading.Event, is_request: bool
    ) -> None:
        awaited = list(self._armed)
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_request:
                    awaited = self._seen(awaited, data, silent)
                elif silent.is_set():
                    self.withheld.set()
                    continue
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _seen(self, awaited: list[bytes], data: bytes, silent: threading.Event) -> list[bytes]:
        if not self._armed:
            return []
        awaited = awaited or list(self._armed)
        rest = data
        while awaited and awaited[0] in rest:
            rest = rest.partition(awaited[0])[2]
            awaited = awaited[1:]
            if not awaited:
                # Set before the request goes on, so that no reply to it can slip through.
                silent.set()
        return awaited or list(self._armed)
