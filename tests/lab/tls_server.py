"""Something that shows a certificate, and is neither a platform nor an engine behind it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.certificates import Authority, Validity


@contextmanager
def tls_server(authority: Authority, validity: Validity) -> Iterator[int]:
    """The port of 127.0.0.1 at which it shows a certificate of this authority, valid so long, for that address."""
    folder = authority.folder.with_name("shown")
    authority.issue_server(folder, ["127.0.0.1"], validity=validity)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
