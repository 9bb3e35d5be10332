"""Images on the node, and pulls from a registry that wants a password."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import pytest

from core.errors import ImageNotFound, ImagePlatformMismatch, RegistryDenied, RegistryUnreachable
from deploy.embedded.places import free_port
from tests.worker.engine_contract.conftest import Source
from tests.worker.engine_contract.subject import Subject
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import DockerStreams, PullStep


def test_image_that_is_there_is_found_by_name_and_by_id(subject: Subject) -> None:
    found = subject.steps.find_image(subject.image)
    assert found is not None
    assert found.image_id.startswith("sha256:")
    assert found.digest == found.image_id  # no registry knows it by that name
    assert found.command == ()
    assert subject.steps.find_image(found.image_id) == found
    assert subject.run(lambda streams: streams.has_image(subject.image))


@pytest.mark.parametrize(
    "reference", ["longshore-test/nothing:1", "longshore-test/busybox:2", "sha256:" + "0" * 64]
)
def test_image_that_is_not_there_is_not_found(subject: Subject, reference: str) -> None:
    assert subject.steps.find_image(reference) is None
    assert not subject.run(lambda streams: streams.has_image(reference))


def test_image_by_the_beginning_of_its_id_is_what_the_engine_finds_and_we_do_not(subject: Subject) -> None:
    found = subject.steps.find_image(subject.image)
    assert found is not None
    short = found.image_id.removeprefix("sha256:")[:12]
    assert subject.api.inspect_image(short)["Id"] == found.image_id
    assert subject.steps.find_image(short) is None


def test_pull_brings_the_image_with_its_digest_and_can_be_repeated(subject: Subject, source: Source) -> None:
    reference = source.publish(_name())
    assert subject.steps.find_image(reference) is None
    first = _pull(subject, reference, source.headers())
    assert first[0].status.startswith("Pulling from team/")
    assert first[-1].status == f"Status: Downloaded newer image for {reference}"
    found = subject.steps.find_image(reference)
    assert found is not None
    assert found.digest.startswith(f"{reference.rpartition(':')[0]}@sha256:")
    assert f"Digest: {found.digest.partition('@')[2]}" in [step.status for step in first]
    again = _pull(subject, reference, source.headers())
    assert again[-1].status == f"Status: Image is up to date for {reference}"
    source.forget(reference)
    assert _fresh(subject).find_image(reference) is None


def test_pull_by_digest_brings_that_image(subject: Subject, source: Source) -> None:
    reference = source.publish(_name())
    _pull(subject, reference, source.headers())
    found = subject.steps.find_image(reference)
    assert found is not None
    source.forget(reference)
    _pull(subject, found.digest, source.headers())
    by_digest = _fresh(subject).find_image(found.digest)
    assert by_digest is not None
    assert by_digest.image_id == found.image_id
    assert by_digest.digest == found.digest
    source.forget(found.digest)


def test_pull_tells_its_progress_by_layer(subject: Subject, source: Source) -> None:
    reference = source.publish_large(_name())
    steps = _pull(subject, reference, source.headers())
    source.forget(reference)
    layers = {step.layer for step in steps if step.status == "Pulling fs layer"}
    assert len(layers) == 1
    (layer,) = layers
    told = [step for step in steps if step.layer == layer]
    assert [told[0].status, told[-1].status] == ["Pulling fs layer", "Pull complete"]
    for status in ("Downloading", "Extracting"):
        progress = [step for step in told if step.status == status]
        assert progress, status
        assert all(0 < step.done_bytes <= step.total_bytes for step in progress)
    assert "Download complete" in [step.status for step in told]


@pytest.mark.parametrize("password", ["", "wrong"], ids=["no credential", "a wrong one"])
def test_pull_that_the_registry_refuses_is_denied(subject: Subject, source: Source, password: str) -> None:
    reference = source.publish(_name())
    headers = source.headers(password) if password else {}
    with pytest.raises(RegistryDenied, match="the registry refuses access"):
        _pull(subject, reference, headers)
    assert subject.steps.find_image(reference) is None


@pytest.mark.parametrize("tag", ["nowhere", "1"])
def test_pull_of_what_the_registry_does_not_have_says_so(subject: Subject, source: Source, tag: str) -> None:
    source.publish("team/known:1")
    repository = "team/known" if tag == "nowhere" else "team/unknown"
    with pytest.raises(ImageNotFound, match="the registry has no such image"):
        _pull(subject, f"{source.host}/{repository}:{tag}", source.headers())


def test_pull_from_a_registry_that_is_not_there_says_so(subject: Subject, source: Source) -> None:
    with pytest.raises(RegistryUnreachable, match="the registry does not answer"):
        _pull(subject, f"127.0.0.1:{free_port()}/team/tool:1", {})


def test_pull_of_an_image_for_another_platform_says_so(subject: Subject, source: Source) -> None:
    reference = source.publish_foreign(_name())
    with pytest.raises(ImagePlatformMismatch, match="not made for this node's platform"):
        _pull(subject, reference, source.headers())


def test_registry_asked_answers_who_may_have_an_image(subject: Subject, source: Source) -> None:
    reference = source.publish(_name())
    subject.run(lambda streams: streams.ask_registry(reference, source.headers()))
    assert subject.steps.find_image(reference) is None  # asking pulls nothing
    for headers in ({}, source.headers("wrong")):
        with pytest.raises(RegistryDenied):
            subject.run(lambda streams, headers=headers: streams.ask_registry(reference, headers))  # type: ignore[misc]


def test_registry_asked_for_what_is_not_there_says_so(subject: Subject, source: Source) -> None:
    with pytest.raises(ImageNotFound):
        subject.run(lambda streams: streams.ask_registry(f"{source.host}/team/nothing:1", source.headers()))
    with pytest.raises(RegistryUnreachable):
        subject.run(lambda streams: streams.ask_registry(f"127.0.0.1:{free_port()}/team/tool:1", {}))


def _pull(subject: Subject, reference: str, headers: Mapping[str, str]) -> list[PullStep]:
    async def pull(streams: DockerStreams) -> list[PullStep]:
        return [step async for step in streams.pull(reference, headers)]

    return subject.run(pull)


def _fresh(subject: Subject) -> DockerSteps:
    """A client that remembers nothing."""
    return DockerSteps(subject.endpoint, timeout_seconds=30)


def _name() -> str:
    return f"team/t{secrets.token_hex(4)}:1"
