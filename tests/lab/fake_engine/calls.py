"""The Engine API calls that the fake engine answers (v1.41): which there are, and when each is answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from tests.lab.fake_engine import container_calls, engine_calls, image_calls
from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.http_server import Reply, Request
from tests.lab.fake_engine.networks import Refused
from tests.lab.fake_engine.pulls import pull

API_VERSION = (1, 41)
_OLDEST = (1, 12)
_VERSION = re.compile(r"/v(\d+)\.(\d+)(?=/)")

Call = Callable[[FakeEngine, Request, Reply, str], None]


def answer(engine: FakeEngine, request: Request, reply: Reply) -> None:
    """Answer one request, now or after the verb's delay; never where the engine is silent."""
    if engine.silent:
        return
    path = request.path
    versioned = _VERSION.match(path)
    if versioned is not None:
        path = path[versioned.end() :]
        if not _has_version(int(versioned[1]), int(versioned[2]), reply):
            return
    found = _call_of(request.method, path)
    if found is None:
        reply.refuse(404, "page not found")
        return
    verb, call, subject = found
    engine.calls[verb] += 1
    delay = engine.delays.get(verb, engine.delays.get("*", 0.0))
    if delay:
        asyncio.get_running_loop().call_later(delay, _make, engine, request, reply, verb, call, subject)
    else:
        _make(engine, request, reply, verb, call, subject)


def _call_of(method: str, path: str) -> tuple[str, Call, str] | None:
    for each, pattern, verb, call in _CALLS:
        if each == method and (match := pattern.fullmatch(path)) is not None:
            return verb, call, match[1] if match.re.groups else ""
    return None


def _has_version(major: int, minor: int, reply: Reply) -> bool:
    asked = (major, minor)
    if asked > API_VERSION:
        message = f"client version {major}.{minor} is too new. Maximum supported API version is 1.41"
        reply.refuse(400, message)
        return False
    if asked < _OLDEST:
        reply.refuse(400, f"client version {major}.{minor} is too old. Minimum supported API version is 1.12")
        return False
    return True


def _make(engine: FakeEngine, request: Request, reply: Reply, verb: str, call: Call, subject: str) -> None:
    if reply.closed and request.method == "GET":
        # The client has gone during the delay. What changes something is done all the same, as engines do.
        return
    reply.is_lost = verb in engine.lost_replies
    refusal = engine.refusals.get(verb)
    try:
        if refusal is not None:
            raise Refused(refusal.status, refusal.message)
        call(engine, request, reply, subject)
    except Refused as refused:
        reply.refuse(refused.refusal.status, refused.refusal.message)


#: Method, path without its version, verb (as `delays` and `refusals` name it), call. The busiest come first.
_CALLS: tuple[tuple[str, re.Pattern[str], str, Call], ...] = tuple(
    (method, re.compile(pattern), verb, call)
    for method, pattern, verb, call in (
        ("GET", r"/containers/([^/]+)/json", "inspect", container_calls.inspect),
        ("POST", r"/containers/create", "create", container_calls.create),
        ("POST", r"/containers/([^/]+)/start", "start", container_calls.start),
        ("GET", r"/containers/([^/]+)/stats", "stats", container_calls.stats),
        ("GET", r"/containers/([^/]+)/logs", "logs", container_calls.logs),
        ("DELETE", r"/containers/([^/]+)", "remove", container_calls.remove),
        ("GET", r"/containers/json", "list", container_calls.list_containers),
        ("POST", r"/containers/([^/]+)/kill", "kill", container_calls.kill),
        ("POST", r"/containers/([^/]+)/stop", "stop", container_calls.stop),
        ("POST", r"/containers/([^/]+)/wait", "wait", container_calls.wait),
        ("PUT", r"/containers/([^/]+)/archive", "put_archive", container_calls.put_archive),
        ("GET", r"/containers/([^/]+)/archive", "get_archive", container_calls.get_archive),
        ("HEAD", r"/containers/([^/]+)/archive", "get_archive", container_calls.get_archive),
        ("GET", r"/version", "version", engine_calls.version),
        ("GET", r"/info", "info", engine_calls.info),
        ("GET", r"/_ping", "ping", engine_calls.ping),
        ("HEAD", r"/_ping", "ping", engine_calls.ping),
        ("GET", r"/events", "events", engine_calls.events),
        ("GET", r"/networks", "list_networks", engine_calls.list_networks),
        ("POST", r"/networks/create", "create_network", engine_calls.create_network),
        ("GET", r"/networks/([^/]+)", "inspect_network", engine_calls.inspect_network),
        ("DELETE", r"/networks/([^/]+)", "remove_network", engine_calls.remove_network),
        ("GET", r"/images/json", "list_images", image_calls.list_images),
        ("GET", r"/images/(.+)/json", "inspect_image", image_calls.inspect_image),
        ("POST", r"/images/create", "pull", pull),
        ("POST", r"/images/(.+)/tag", "tag_image", image_calls.tag_image),
        ("DELETE", r"/images/(.+)", "remove_image", image_calls.remove_image),
        ("GET", r"/distribution/(.+)/json", "distribution", image_calls.distribution),
    )
)
