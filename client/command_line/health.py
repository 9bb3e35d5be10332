"""What `longshore doctor` looks at, from where it is run: the way to the platform, the platform itself, the key.

By HTTP and nothing else. What is on the platform's host is looked at there, by `deploy/doctor`.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cached_property
from urllib.parse import urlsplit

import httpx

from client.command_line.session import Session
from client.errors import KeyRefused, LongshoreError, NotAllowed, SettingsMissing
from client.exchange.connection import trusted_by
from client.findings import Check, Finding, fault, ok, unchecked, warning, worst
from client.longshore import Longshore
from client.profiles import Profile, settings_of
from client.reads.wire import read_json

_SECONDS = 4.0
_SOON_DAYS = 30
#: The Date of an answer is of a whole second.
_WARNING_SECONDS, _FAULT_SECONDS = 5.0, 60.0
_HOST = "on the platform's host, run deploy/doctor"


class Platform:
    """A platform as this user reaches it from here."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def settings(self) -> Profile:
        """Raises SettingsMissing."""
        return settings_of(Profile(self._session.url, self._session.account), self._session.profile)

    @property
    def host(self) -> str:
        return urlsplit(self.settings.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.settings.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_encrypted(self) -> bool:
        return self.settings.url.startswith("https://")

    @property
    def trusted(self) -> ssl.SSLContext:
        found = trusted_by(self.settings.ca_file)
        return found if isinstance(found, ssl.SSLContext) else ssl.create_default_context()

    @property
    def pool(self) -> str:
        return self._session.pool

    def get(self, path: str) -> httpx.Response:
        """Without a key, once."""
        with httpx.Client(verify=trusted_by(self.settings.ca_file), timeout=_SECONDS) as http:
            return http.get(f"{self.settings.url}{path}")

    def longshore(self) -> Longshore:
        """With the key; nothing is tried again."""
        return Longshore(
            self._session.url,
            "",
            self._session.account,
            profile=self._session.profile,
            timeout_seconds=_SECONDS,
            retry_seconds=0,
        )


def _settings(platform: Platform) -> Finding:
    try:
        found = platform.settings
    except SettingsMissing as error:
        return fault(
            str(error), "set LONGSHORE_URL, LONGSHORE_ACCOUNT and LONGSHORE_API_KEY, as .longshore/env does"
        )
    return ok(f"{found.url}, account {found.account}")


def _name(platform: Platform) -> Finding:
    host = platform.host
    try:
        found = socket.getaddrinfo(host, platform.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return fault(f"{host} cannot be resolved: {error.strerror}", "correct LONGSHORE_URL, or the name in DNS")
    return ok(f"{host} is {found[0][4][0]}")


def _connection(platform: Platform) -> Finding:
    where = f"{platform.host}:{platform.port}"
    try:
        socket.create_connection((platform.host, platform.port), _SECONDS).close()
    except ConnectionRefusedError:
        return fault(
            f"nobody listens at {where}", f"start the platform (deploy/up), or correct LONGSHORE_URL; {_HOST}"
        )
    except OSError as error:
        said = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or error
        return fault(
            f"{where} cannot be reached: {said}", "see that the host is up, and no firewall is in the way"
        )
    return ok(f"{where} can be reached")


def _certificate(platform: Platform) -> Finding:
    if not platform.is_encrypted:
        return ok("there is none: http:// is not encrypted, and is for trusted networks")
    where = (platform.host, platform.port)
    try:
        with (
            socket.create_connection(where, _SECONDS) as plain,
            platform.trusted.wrap_socket(plain, server_hostname=platform.host) as encrypted,
        ):
            shown = encrypted.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return fault(
            f"the certificate of {platform.host} is not trusted: {error.verify_message}",
            "renew it on what ends TLS there, or name who signed it: longshore profiles add NAME --ca-file FILE",
        )
    except OSError as error:
        return fault(f"TLS fails: {error}", "see what ends TLS there; http:// is for a port without")
    days = (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86_400
    said = f"the certificate of {platform.host} is valid for {days:.0f} days"
    return warning(said, "renew it on what ends TLS there") if days < _SOON_DAYS else ok(said)


def _answer(platform: Platform) -> Finding:
    try:
        answer = platform.get("/healthz")
    except httpx.HTTPError as error:
        return _silent(error)
    if answer.status_code != httpx.codes.OK or read_json(answer.content) != {}:
        return fault(
            f"what answers there is not Longshore ({answer.status_code})",
            "correct LONGSHORE_URL, or what stands before the api",
        )
    return ok("the api answers")


def _clock(platform: Platform) -> Finding:
    try:
        return _clock_of(platform)
    except httpx.HTTPError as error:
        return _silent(error)


def _silent(error: httpx.HTTPError) -> Finding:
    return fault(f"it does not answer: {error or type(error).__name__}", f"look at the api's log; {_HOST}")


def _clock_of(platform: Platform) -> Finding:
    began, before = time.monotonic(), time.time()
    said = platform.get("/healthz").headers.get("Date")
    took = time.monotonic() - began
    if not said:
        return unchecked("its answers have no Date")
    # It was cut to the second: in the middle, half a second more.
    ahead = parsedate_to_datetime(said).timestamp() + 0.5 - (before + took / 2)
    if abs(ahead) < _WARNING_SECONDS:
        return ok("the platform's clock agrees with this one's")
    words = f"the platform's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this one's"
    return (fault if abs(ahead) >= _FAULT_SECONDS else warning)(
        words, "set both by NTP: `sudo timedatectl set-ntp true`"
    )


def _ready(platform: Platform) -> Finding:
    try:
        answer = platform.get("/readyz")
    except httpx.HTTPError as error:
        return _silent(error)
    parts = _parts(read_json(answer.content))
    bad = [fault(f"{part}: {word}", _HOST) for part, word in parts.items() if word != "ready"]
    if bad:
        return worst(bad)
    if answer.status_code != httpx.codes.OK:
        return fault(f"/readyz answers {answer.status_code}", _HOST)
    return ok(f"{', '.join(parts)} are ready")


def _parts(body: object) -> Mapping[str, str]:
    """By their names, whether it is an answer or a refusal."""
    if not isinstance(body, Mapping):
        return {}
    found = body.get("parts") or next((each.get("metadata") for each in body.get("details") or ()), None)
    return found if isinstance(found, Mapping) else {}


def _version(platform: Platform) -> Finding:
    try:
        body = read_json(platform.get("/openapi.json").content)
    except httpx.HTTPError as error:
        return _silent(error)
    if not isinstance(body, Mapping) or "info" not in body:
        return unchecked("it does not say which it is")
    return ok(f"{body['info'].get('title')} {body['info'].get('version')}")


def _key(platform: Platform) -> Finding:
    with platform.longshore() as longshore:
        try:
            next(longshore.jobs(limit=1), None)
        except KeyRefused:
            return fault(
                "the API key is not valid, or has ended",
                "get one from an admin (longshore keys new), or on the host: python -m deploy.admin_key",
            )
        except NotAllowed:
            return fault(
                f"the key is not for account {longshore.account}", "correct LONGSHORE_ACCOUNT, or the key"
            )
        except LongshoreError as error:
            return fault(f"jobs cannot be listed: {error}", _HOST)
    return ok(f"it opens account {longshore.account}")


def _pool(platform: Platform) -> Finding:
    name = platform.pool
    with platform.longshore() as longshore:
        try:
            nodes = list(longshore.nodes(name))
        except NotAllowed:
            return unchecked(f"only admins see the nodes of pool {name}")
        except LongshoreError as error:
            return fault(f"pool {name}: {error}", "name a pool of `longshore pools`: LONGSHORE_POOL")
    if not nodes:
        return fault(f"pool {name} has no node", "add one: deploy/up, or deploy/node on a host")
    ready = [node for node in nodes if node.accepting]
    if not ready:
        return fault(f"no node of pool {name} takes ranks: {nodes[0].id}: {nodes[0].status}", _HOST)
    return ok(f"{len(ready)} of {len(nodes)} nodes of pool {name} take ranks")


_LATE = "see that the host is up, and no firewall is in the way"
CHECKS: tuple[Check[Platform], ...] = (
    Check("settings", _settings),
    Check("name", _name, ("settings",), "see that the name servers in /etc/resolv.conf answer"),
    Check("connection", _connection, ("name",), _LATE),
    Check("certificate", _certificate, ("connection",), _LATE),
    Check("answer", _answer, ("certificate",), f"look at the api's log; {_HOST}"),
    Check("clock", _clock, ("answer",), _LATE),
    Check("ready", _ready, ("answer",), _HOST),
    Check("version", _version, ("answer",), _LATE),
    Check("key", _key, ("answer",), _HOST),
    Check("pool", _pool, ("key",), _HOST),
)
