"""Events: starts and ends of this installation's containers, with what their labels say; and what is kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.worker.engine_contract.subject import Listener, Subject
from worker.docker_engine.streams import DockerStreams

#: What engines keep (moby, eventsLimit).
_KEPT = 256


def test_events_tell_of_a_start_and_an_end_with_the_labels(subject: Subject) -> None:
    spec = subject.spec("sleep 0.3; exit 9")

    async def work(streams: DockerStreams) -> Listener:
        async with Listener(streams) as listener:
            container = await asyncio.to_thread(subject.steps.create, spec)
            await asyncio.to_thread(subject.steps.start, container)
            await listener.wait_for(lambda heard: len(heard) >= 2)
            return listener

    start, die = subject.run(work).heard
    assert (start.action, die.action) == ("start", "die")
    assert start.key == die.key == spec.key
    assert start.container_id == die.container_id
    for event in (start, die):
        assert spec.labels.items() <= event.labels.items()
        assert event.labels["name"] == spec.key.container_name
        assert event.labels["image"] == subject.image
    assert die.labels["exitCode"] == "9"
    subject.steps.remove(start.container_id)


def test_events_of_another_installation_are_not_told(subject: Subject) -> None:
    other = subject.spec("true", installation=subject.other_installation)
    ours = subject.spec("true")

    async def work(streams: DockerStreams) -> Listener:
        async with Listener(streams) as listener:
            for spec in (other, ours):
                container = await asyncio.to_thread(subject.steps.create, spec)
                await asyncio.to_thread(subject.steps.start, container)
            await listener.wait_for(lambda heard: [event.action for event in heard][-1:] == ["die"])
            return listener

    assert {event.key for event in subject.run(work).heard} == {ours.key}
    for spec in (other, ours):
        subject.steps.remove(spec.key.container_name)


def test_events_of_a_kill_and_a_removal_have_one_end(subject: Subject) -> None:
    container = subject.started("sleep", "60")

    async def work(streams: DockerStreams) -> Listener:
        async with Listener(streams) as listener:
            await asyncio.to_thread(subject.steps.remove, container)
            await listener.wait_for(lambda heard: any(event.action == "die" for event in heard))
            return listener

    kill, die = subject.run(work).heard
    assert (kill.action, kill.labels["signal"]) == ("kill", "9")
    assert (die.action, die.labels["exitCode"]) == ("die", "137")


def test_events_are_seen_after_the_state_that_they_tell_of(subject: Subject) -> None:
    """Whoever hears of an end and looks sees it."""

    async def work(streams: DockerStreams) -> list[str]:
        statuses = []
        async with Listener(streams) as listener:
            for _ in range(5):
                heard = len(listener.heard)
                container = await asyncio.to_thread(subject.started, "true")
                await listener.wait_for(lambda events, heard=heard: len(events) >= heard + 2)  # type: ignore[misc]
                seen = await streams.observe(container)
                assert seen is not None
                statuses.append(seen.status)
                await asyncio.to_thread(subject.steps.remove, container)
        return statuses

    assert subject.run(work) == ["exited"] * 5


def test_events_since_a_time_are_told_again(subject: Subject) -> None:
    began = time.time()
    container = subject.ended("exit 4")
    subject.steps.remove(container)
    told = _events(subject, began, time.time() + 0.01)
    actions = [(event["Action"], event["Actor"]["ID"]) for event in told]
    assert actions == [(action, container) for action in ("create", "start", "die", "destroy")]
    assert [event["Actor"]["Attributes"].get("exitCode") for event in told] == [None, None, "4", None]
    assert all(began * 1e9 <= event["timeNano"] <= time.time_ns() for event in told)
    later = _events(subject, told[2]["timeNano"] / 1e9 + 0.000_01, time.time() + 0.01)
    assert [event["Action"] for event in later][-1:] == ["destroy"]


def test_events_of_one_kind_leave_the_others_out(subject: Subject) -> None:
    began = time.time()
    container = subject.ended("true")
    subject.steps.remove(container)
    filters = {"label": [f"longshore.installation={subject.installation}"], "event": ["die", "start"]}
    told = _events(subject, began, time.time() + 0.01, **filters)
    assert [event["Action"] for event in told] == ["start", "die"]


def test_events_beyond_the_newest_256_are_forgotten(subject: Subject) -> None:
    began = time.time()
    container = subject.ended("true")
    subject.steps.remove(container)
    for _ in range(_KEPT + 4):
        subject.api.tag(subject.image, "longshore-test/tagged", "1", force=True)
    subject.api.remove_image("longshore-test/tagged:1")
    assert _events(subject, began, time.time() + 0.01) == []
    whole = list(subject.api.events(since=f"{began:.9f}", until=f"{time.time() + 0.01:.9f}", decode=True))
    assert len(whole) == _KEPT


def _events(subject: Subject, since: float, until: float, **filters: list[str]) -> list[dict[str, Any]]:
    wanted = filters or {"label": [f"longshore.installation={subject.installation}"], "type": ["container"]}
    parameters = {"since": f"{since:.9f}", "until": f"{until:.9f}"}
    return list(subject.api.events(**parameters, filters=wanted, decode=True))
