"""`python -m api`: serve until SIGTERM; requests under way are finished."""

from __future__ import annotations

import os
import socket
import tempfile

import uvicorn
from uvicorn.supervisors import Multiprocess

from core.event_log import configure_logging
from core.settings import load_settings

#: Read by prometheus_client when it is imported, which is not here: the parent of several measures nothing.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_FINISH_SECONDS = 10
#: A client that is gone without a word is found out by what is sent to it (streams have a ping every 15 s), and
#: one to which nothing is sent by the system's own probes; then its connection is ended.
_UNANSWERED_SECONDS = 20
_QUIET_SECONDS, _PROBE_SECONDS, _PROBES = 30, 5, 3


def main() -> None:
    """Serve on the host and port of the settings."""
    configure_logging()
    settings = load_settings()
    config = uvicorn.Config(
        "api.app:application",
        factory=True,
        # Started by a parent that starts them again, where there are several.
        workers=settings.api_processes,
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_FINISH_SECONDS,
    )
    listener = config.bind_socket()
    _find_out_the_gone(listener)
    if config.workers > 1:
        with tempfile.TemporaryDirectory(prefix="longshore-api-measures-") as folder:
            # Before any of them begins: whichever is asked for /metrics answers for all.
            os.environ.setdefault(SHARED_FOLDER, folder)
            Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


def _find_out_the_gone(listener: socket.socket) -> None:
    """Every connection that it takes has these from it (tcp(7))."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_USER_TIMEOUT, _UNANSWERED_SECONDS * 1000),
        (socket.TCP_KEEPIDLE, _QUIET_SECONDS),
        (socket.TCP_KEEPINTVL, _PROBE_SECONDS),
        (socket.TCP_KEEPCNT, _PROBES),
    ):
        listener.setsockopt(socket.IPPROTO_TCP, option, value)


if __name__ == "__main__":
    main()
