"""Registries that do not do as they should: what is waited for, what fails at once, and who is asked how often."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import BALLAST, BUSYBOX, ensure_ballast
from tests.lab.platform import Platform, wait_until
from tests.lab.registry import Registry
from tests.lab.scripted_registry import Answer, ScriptedRegistry

RATE_LIMIT = '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
#: What an engine does for one pull of a manifest that is refused: with its tag, by HEAD and then by GET.
_ASKS_OF_ONE_PULL = 2


@pytest.fixture(scope="module")
def scripted(registry: Registry) -> Iterator[ScriptedRegistry]:
    started = ScriptedRegistry(registry)
    yield started
    started.close()


@pytest.fixture
def image(registry: Registry, scripted: ScriptedRegistry) -> Iterator[str]:
    """An image of the scripted registry that is not on the node, with a layer that nothing else has."""
    ensure_ballast(8 << 20)
    reference = scripted.by_way_of(registry.push(BALLAST, f"team/{secrets.token_hex(4)}:1"))
    registry.forget(BALLAST)
    scripted.script()
    yield reference
    scripted.script()
    registry.forget(reference)


@pytest.fixture(autouse=True)
def at_rest_after(platform: Platform) -> Iterator[None]:
    yield
    platform.wait_at_rest()


@pytest.mark.parametrize(
    ("answer", "reason", "sentence"),
    [
        (Answer("/manifests/", 429, body=RATE_LIMIT), "REGISTRY_BUSY", "the registry asks to wait (429)"),
        (Answer("/manifests/", 429), "REGISTRY_BUSY", "the registry asks to wait (429)"),
        (Answer("/blobs/", 429, body=RATE_LIMIT), "REGISTRY_BUSY", "the registry asks to wait (429)"),
        (Answer("/manifests/", 503), "REGISTRY_UNREACHABLE", "the registry does not answer"),
        (Answer("/manifests/", 500, body="<html>"), "REGISTRY_UNREACHABLE", "the registry does not answer"),
    ],
    ids=["limit", "bare-429", "limit-of-blobs", "503", "500"],
)
def test_pull_that_is_put_off_says_so_and_goes_on_when_the_registry_does(
    client: ApiClient,
    platform: Platform,
    scripted: ScriptedRegistry,
    image: str,
    answer: Answer,
    reason: str,
    sentence: str,
) -> None:
    scripted.script(answer)
    jobs = [client.shell("true", image=image)["id"] for _ in range(2)]
    for job_id in jobs:
        waiting = client.wait_for(job_id, lambda now: "trying again in" in now["status"], 30)
        assert (waiting["state"], waiting["reason"]) == ("PENDING", reason), waiting["status"]
        assert waiting["status"].startswith(f"{image}: {sentence}: ")
    scripted.script()
    ended = [client.wait_end(job_id, 90) for job_id in jobs]
    assert [job["state"] for job in ended] == ["COMPLETED"] * 2, [job["status"] for job in ended]
    assert [job["attempt"] for job in ended] == [1, 1]
    assert platform.log("supervisor").count(f"event='image_pulled' image='{image}'") == 1
    assert scripted.blobs() == 1


def test_pull_waits_as_long_as_the_registry_asks_for(
    client: ApiClient, scripted: ScriptedRegistry, image: str
) -> None:
    body = RATE_LIMIT.replace("You have", "retry-after: 40s, you have")
    scripted.script(Answer("/manifests/", 429, body=body))
    job = client.shell("true", image=image, timeouts={"pull": "6s"})
    done = client.wait_end(job["id"], 30)
    assert (done["state"], done["reason"]) == ("FAILED", "PULL_TIMEOUT")
    assert f"(timeouts.pull): {image}: the registry asks to wait (429): " in done["status"]
    assert len(scripted.answered) == _ASKS_OF_ONE_PULL, "asked once"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "IMAGE_NOT_FOUND"), (401, "REGISTRY_DENIED"), (403, "REGISTRY_DENIED")],
)
def test_pull_that_is_refused_for_good_fails_at_once_and_is_not_repeated(
    client: ApiClient, scripted: ScriptedRegistry, image: str, status: int, reason: str
) -> None:
    scripted.script(Answer("/manifests/", status))
    done = client.wait_end(client.shell("true", image=image, retryPolicy={"maxAttempts": 1})["id"], 30)
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", reason, 1), done["status"]
    assert image in done["status"]
    assert len(scripted.answered) <= _ASKS_OF_ONE_PULL


def test_pull_of_a_manifest_list_without_our_platform_is_not_repeated(
    client: ApiClient, registry: Registry, scripted: ScriptedRegistry
) -> None:
    image = scripted.by_way_of(registry.publish_foreign(f"team/{secrets.token_hex(4)}:1"))
    scripted.script()
    done = client.wait_end(client.shell("true", image=image)["id"], 30)
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", "IMAGE_PLATFORM_MISMATCH", 1)
    asked = sum(
        count for path, count in scripted.passed.items() if path.startswith("GET") and "/manifests/" in path
    )
    assert asked <= _ASKS_OF_ONE_PULL, scripted.passed


def test_pull_that_stalls_is_aborted_and_made_again(
    client: ApiClient, scripted: ScriptedRegistry, image: str
) -> None:
    scripted.script(Answer("/blobs/", stalls_at=0.5))
    job = client.shell("true", image=image)["id"]
    hasty = client.shell("true", image=image, timeouts={"pull": "3s"})["id"]
    done = client.wait_end(hasty, 30)
    assert (done["state"], done["reason"]) == ("FAILED", "PULL_TIMEOUT")
    assert "not running within 3 s" in done["status"] and image in done["status"]
    client.wait_for(job, lambda now: now["attempt"] == 2, 90)
    scripted.script()
    done = client.wait_end(job, 120)
    assert done["state"] == "COMPLETED", done["status"]
    events: list[dict[str, Any]] = client.http.get(f"/batchJobs/{job}/events").json()["events"]
    assert any("the pull made no progress" in event["status"] for event in events), events


def test_pull_that_nobody_waits_for_any_more_is_given_up(
    client: ApiClient, platform: Platform, scripted: ScriptedRegistry, image: str
) -> None:
    scripted.script(Answer("/manifests/", 429))
    job = client.shell("true", image=image)["id"]
    client.wait_for(job, lambda now: "trying again in" in now["status"], 30)
    client.cancel(job)
    client.wait_end(job)
    rows = f"SELECT state FROM image_pulls WHERE image_ref = '{image}'"
    wait_until(lambda: platform.query(rows) == [], 30, "the pull is forgotten")
    scripted.script()
    assert client.wait_end(client.shell("true", image=image)["id"], 60)["state"] == "COMPLETED"


@pytest.mark.slow
def test_pull_fifty_jobs_want_one_large_image_is_one_pull_and_all_start(
    client: ApiClient, platform: Platform, registry: Registry, scripted: ScriptedRegistry
) -> None:
    ensure_ballast(256 << 20)
    image = scripted.by_way_of(registry.push(BALLAST, "team/very-large:1"))
    registry.forget(BALLAST)
    scripted.script()
    jobs = [client.shell("true", image=image)["id"] for _ in range(50)]
    ended = [client.wait_end(job_id, 280) for job_id in jobs]
    assert [job["state"] for job in ended] == ["COMPLETED"] * 50, {job["status"] for job in ended}
    assert scripted.blobs() == 1
    assert platform.log("supervisor").count(f"event='image_pulled' image='{image}'") == 1
    registry.forget(image)
    assert client.wait_end(client.shell("true", image=BUSYBOX)["id"])["state"] == "COMPLETED"
