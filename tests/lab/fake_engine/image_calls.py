"""The calls about images and what registries have of them. A pull is told in `pulls`."""

from __future__ import annotations

from tests.lab.fake_engine.behaviour import Refusal
from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.events import Event
from tests.lab.fake_engine.http_server import Reply, Request
from tests.lab.fake_engine.images import parsed_name
from tests.lab.fake_engine.networks import Refused
from tests.lab.fake_engine.stamps import now_ns


def inspect_image(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    found = engine.images.find(subject)
    if found is None:
        raise Refused(404, f"no such image: {subject}: No such image: {subject}")
    reply.json(200, found.inspected())


def list_images(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    rows = [{"Containers": -1, "Labels": {}, **each.inspected()} for each in engine.images.all()]
    reply.json(200, rows)


def tag_image(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    found = engine.images.tag(subject, request.query.get("repo", ""), request.query.get("tag", ""))
    if found is None:
        raise Refused(404, f"No such image: {subject}")
    attributes = {"name": found.tags[-1]}
    engine.events.tell(Event(now_ns(), "image", "tag", found.image.image_id, attributes))
    reply.empty(201)


def remove_image(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    done = engine.images.remove(subject)
    if done is None:
        raise Refused(404, f"No such image: {subject}")
    reply.json(200, done)


def distribution(engine: FakeEngine, request: Request, reply: Reply, subject: str) -> None:
    found = engine.registries.answer(parsed_name(subject), request.headers)
    if isinstance(found, Refusal):
        # The same refusals as of a pull; only these two are said otherwise (20.10).
        status = 401 if found.message.startswith("unauthorized") else found.status
        message = found.message
        if "manifest unknown" in message:
            message = "manifest unknown: manifest unknown"
        raise Refused(status, message)
    system, _, architecture = found.image.platform.partition("/")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    descriptor = {"mediaType": kind, "digest": found.image.digest, "size": 527}
    reply.json(200, {"Descriptor": descriptor, "Platforms": [{"architecture": architecture, "os": system}]})
