"""A proxy in front of the database or the broker, and the URL by which a process then reaches it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tests.lab.proxy import ReplyProxy


def proxy_to(url: str) -> ReplyProxy:
    """A proxy to the server of a URL: a port of this host, or a broker's socket."""
    parts = urlsplit(url)
    return ReplyProxy(Path(parts.path) if parts.scheme == "redis+socket" else int(parts.port or 0))


def through(url: str, proxy: ReplyProxy) -> str:
    """The same by way of the proxy."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        return f"redis://127.0.0.1:{proxy.port}/{parse_qs(parts.query)['virtual_host'][0]}"
    user, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
