"""A page, shown by the browser of whoever sits here: handed to it once, out of memory, on the loopback alone.

Not as a file: a browser that is confined reads none, and what keeps the page from running and fetching anything is
a header. Nobody can guess the address, and it leads nowhere a second time.
"""

from __future__ import annotations

import secrets
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from client.errors import LongshoreError

_TAKEN_WITHIN_SECONDS = 60.0
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    # As the platform sends it with the page of a notebook.
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def show_url(url: str) -> None:
    """Have the browser show what is at an address. Raises LongshoreError where there is no browser."""
    if not webbrowser.open(url):
        raise LongshoreError(f"there is no browser here to show {url}; BROWSER may name one")


def show_page(page: bytes) -> None:
    """Have the browser show a page. Raises LongshoreError where there is none, or it does not ask for the page."""
    with _Once(page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            show_url(server.url)
            if not server.is_taken.wait(_TAKEN_WITHIN_SECONDS):
                raise LongshoreError(f"the browser has not asked for the page in {_TAKEN_WITHIN_SECONDS:.0f} s")
        finally:
            server.shutdown()


class _Once(ThreadingHTTPServer):
    """Has one page for whoever knows where."""

    def __init__(self, page: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handing)
        self.page, self.path = page, f"/{secrets.token_urlsafe(16)}"
        self.url = f"http://127.0.0.1:{self.server_port}{self.path}"
        self.is_taken = threading.Event()


class _Handing(BaseHTTPRequestHandler):
    server: _Once

    def do_GET(self) -> None:
        if self.path != self.server.path or self.server.is_taken.is_set():
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)
        self.server.is_taken.set()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal is the command's."""
