"""Images from a real registry with authentication: pulled once, by digest, or refused with the right word."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.embedded.places import free_port
from tests.lab.api_client import ENDED, ApiClient
from tests.lab.images import BALLAST, BUSYBOX, ensure_ballast
from tests.lab.platform import Platform
from tests.lab.registry import Registry


def test_pull_many_jobs_want_one_image_is_one_pull_with_credentials(
    client: ApiClient, platform: Platform, registry: Registry
) -> None:
    reference = registry.push(BUSYBOX, "team/tool:1")
    jobs = [client.shell("true", image=reference, ranks=1 + i % 2) for i in range(6)]
    ended = [client.wait_end(job["id"]) for job in jobs]
    assert [job["state"] for job in ended] == ["COMPLETED"] * 6, [job["status"] for job in ended]
    digests = {job["imageDigest"] for job in ended}
    assert len(digests) == 1
    assert next(iter(digests)).startswith(f"{registry.host}/team/tool@sha256:")
    pulls = platform.log("supervisor").count(f"event='image_pulled' image='{reference}'")
    assert pulls == 1
    registry.forget(reference)


def test_pull_shows_its_progress_in_the_status(client: ApiClient, registry: Registry) -> None:
    ensure_ballast(96 << 20)
    reference = registry.push(BALLAST, "team/large:1")
    registry.forget(BALLAST)
    job = client.shell("true", image=reference)
    seen: set[str] = set()

    def note_and_ended(now: dict[str, Any]) -> bool:
        seen.add(now["status"])
        return now["state"] in ENDED

    client.wait_for(job["id"], note_and_ended, 120)
    registry.forget(reference)
    assert any(re.fullmatch(rf"pulling {re.escape(reference)}: \d+ %", status) for status in seen), seen


def test_pull_of_what_the_registry_does_not_have_says_so(client: ApiClient, registry: Registry) -> None:
    registry.push(BUSYBOX, "team/tool:there")
    assert_refused(client, f"{registry.host}/team/tool:nowhere", "IMAGE_NOT_FOUND", "has no such image")


def test_pull_without_credentials_is_denied(client: ApiClient, registry: Registry) -> None:
    # The credentials are for the address by number; by name it is a registry that we have none for.
    by_name = registry.host.replace("127.0.0.1", "localhost")
    registry.push(BUSYBOX, "team/tool:denied")
    assert_refused(client, f"{by_name}/team/tool:denied", "REGISTRY_DENIED", "refuses access")


def test_pull_from_a_registry_that_is_not_there_says_so(client: ApiClient, platform: Platform) -> None:
    image = f"127.0.0.1:{free_port()}/x:1"
    job = client.shell("true", image=image, ranks=2, timeouts={"pull": "3s"})
    waiting = client.wait_for(job["id"], lambda now: "trying again in" in now["status"])
    assert waiting["reason"] == "REGISTRY_UNREACHABLE"
    done = client.wait_end(job["id"])
    assert (done["state"], done["reason"]) == ("FAILED", "PULL_TIMEOUT"), done["status"]
    assert f"{image}: the registry does not answer: " in done["status"]


def test_pull_from_a_registry_that_nobody_can_mend_by_waiting_fails_at_once(client: ApiClient) -> None:
    assert_refused(client, "nosuch.invalid:5000/x:1", "REGISTRY_UNREACHABLE", "there is no registry of that name")


def test_pull_of_an_image_for_another_platform_says_so(client: ApiClient, registry: Registry) -> None:
    reference = registry.publish_foreign("team/foreign:1")
    assert_refused(client, reference, "IMAGE_PLATFORM_MISMATCH", "not made for this node's platform")


def assert_refused(client: ApiClient, image: str, reason: str, sentence: str) -> None:
    job = client.shell("true", image=image, ranks=2)
    done = client.wait_end(job["id"])
    assert (done["state"], done["reason"]) == ("FAILED", reason), done["status"]
    assert sentence in done["status"]
    assert image in done["status"]


@pytest.fixture(autouse=True)
def at_rest_after(platform: Platform) -> None:
    platform.wait_at_rest()
