"""The API's port and its name: whether the port is ours or free, and clients can resolve the name."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import httpx

from client.findings import Finding, fault, ok, unchecked
from deploy.diagnosis.listeners import Listener, listener_of
from deploy.diagnosis.site import Site
from deploy.services import public_url

_ANSWER_SECONDS = 3.0


def port(site: Site) -> Finding:
    """Whether another program has the API's port."""
    host, number = site.settings.api_host, site.settings.api_port
    found = listener_of(host, number)
    if found is None:
        return ok(f"nobody else has port {number}")
    if _is_ours(site, found):
        return ok(f"port {number} is the api's own, {found.shown}")
    other = "another Longshore, " if _is_longshore(site) else ""
    return fault(
        f"port {number} of {host}, the API's, is used by {other}{found.shown}",
        f"end that program (`kill {found.pid}`), or choose another port: LONGSHORE_API_PORT=8081 deploy/up",
    )


def name(site: Site) -> Finding:
    """Whether the host in LONGSHORE_URL can be resolved."""
    host = urlsplit(site.url).hostname
    if not site.url:
        return unchecked("LONGSHORE_URL is not set, nor in the state folder")
    if not host:
        return fault(f"LONGSHORE_URL is no URL: {site.url}", "set it to what clients use, as http://host:8080")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return fault(
            f"the name {host} of LONGSHORE_URL cannot be resolved: {error.strerror}",
            f"give {host} an address in DNS or /etc/hosts, or correct LONGSHORE_URL",
        )
    return ok(f"{host} is {found[0][4][0]}")


def _is_ours(site: Site, found: Listener) -> bool:
    """The process that deploy/up started, or one of its own; where it started none, whoever answers as an api."""
    process = site.roster.running("api") if site.roster is not None else None
    if process is None or found.pid is None:
        return _is_longshore(site)
    try:
        return os.getsid(found.pid) == os.getsid(process.pid)
    except OSError:
        return False


def _is_longshore(site: Site) -> bool:
    """Asked for no part of its readiness, it answers without asking anyone."""
    url = public_url(site.settings.api_host, site.settings.api_port)
    try:
        answer = httpx.get(
            f"{url}/readyz?exclude=database,migrations,broker", timeout=_ANSWER_SECONDS, trust_env=False
        )
        return bool(answer.json() == {"parts": {}})
    except (httpx.HTTPError, ValueError):
        return False
