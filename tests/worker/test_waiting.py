"""Waiting for an event with a limit, whatever happens at the same moment."""

from __future__ import annotations

import asyncio

import pytest

from worker.supervisor.waiting import is_set_within


def test_wait_ends_when_the_event_is_set_or_the_time_is_over() -> None:
    async def both() -> tuple[bool, bool]:
        event = asyncio.Event()
        late = await is_set_within(event, 0.01)
        asyncio.get_running_loop().call_later(0.01, event.set)
        return late, await is_set_within(event, 30)

    assert asyncio.run(both()) == (False, True)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("cancelled_first", [True, False])
def test_who_is_cancelled_in_the_turn_in_which_the_event_is_set_ends(turns: int, cancelled_first: bool) -> None:
    async def wait_for_ever(event: asyncio.Event) -> None:
        while True:
            await is_set_within(event, 0.5)
            event.clear()

    async def cancel() -> bool:
        event = asyncio.Event()
        task = asyncio.ensure_future(wait_for_ever(event))
        await asyncio.sleep(0.01)
        deeds = (task.cancel, event.set) if cancelled_first else (event.set, task.cancel)
        deeds[0]()
        for _ in range(turns):
            await asyncio.sleep(0)
        deeds[1]()
        await asyncio.wait({task}, timeout=2)
        return task.cancelled()

    assert asyncio.run(cancel())
