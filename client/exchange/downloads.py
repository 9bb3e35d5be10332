"""A download, piece by piece. It is begun again until its first piece has come, and not after that."""

from __future__ import annotations

from client.errors import NoConnection
from client.exchange.effects import Broken, NextBytes, Open, Reply, Request, Stream, Tell
from client.exchange.retrying import Patience, wait_or_raise, wait_or_refuse


def each_piece(request: Request, patience: Patience) -> Stream[bytes]:
    """The content of a 2xx answer. Raises Refused, NoConnection, also where it ends too soon."""
    told = False
    while True:
        try:
            reply: Reply = yield Open(request)
            if reply.status >= 300:
                yield from wait_or_refuse(reply, patience)
                continue
            while (piece := (yield NextBytes())) is not None:
                told = True
                yield Tell(piece)
        except Broken as broken:
            # Whoever was given the beginning cannot take it back.
            if told:
                raise NoConnection(f"{broken}; what has come of it is not whole") from broken
            yield from wait_or_raise(broken, patience, again=True)
            continue
        return
