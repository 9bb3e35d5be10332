"""What ranks of one attempt write together: who waits for what, and what a failure or a cancelled waiter does."""

from __future__ import annotations

import asyncio

import pytest

from worker.engine import RankKey
from worker.supervisor.gathering import Gathering


class Rows:
    """Writes that end when they are let go, and what each was given."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, dict[int, str]]] = []
        self.may_end = asyncio.Event()
        self.refuses: set[int] = set()

    async def write(self, job_id: str, attempt: int, values: dict[int, str]) -> int:
        self.batches.append((job_id, attempt, dict(values)))
        await self.may_end.wait()
        if self.refuses & values.keys():
            raise ValueError(f"refused {sorted(values)}")
        return len(self.batches)


def _give(gathering: Gathering[str, int], job: str, *ranks: int) -> list[asyncio.Task[int]]:
    return [asyncio.ensure_future(gathering.give(RankKey(job, 1, rank), f"{rank}!")) for rank in ranks]


async def _turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_give_while_a_batch_is_written_goes_in_the_next_one_together() -> None:
    async def scene() -> None:
        rows = Rows()
        gathering = Gathering(rows.write)
        first = _give(gathering, "job", 0)
        await _turns()
        later = _give(gathering, "job", 1, 2, 3)
        await _turns()
        assert rows.batches == [("job", 1, {0: "0!"})]
        assert not any(task.done() for task in [*first, *later])
        rows.may_end.set()
        assert await asyncio.gather(*first, *later) == [1, 2, 2, 2]
        assert rows.batches[1:] == [("job", 1, {1: "1!", 2: "2!", 3: "3!"})]

    asyncio.run(scene())


def test_give_of_another_job_waits_for_nobody() -> None:
    async def scene() -> None:
        rows = Rows()
        gathering = Gathering(rows.write)
        waiting = [*_give(gathering, "job", 0), *_give(gathering, "other", 0)]
        await _turns()
        assert [batch[0] for batch in rows.batches] == ["job", "other"]
        rows.may_end.set()
        await asyncio.gather(*waiting)

    asyncio.run(scene())


def test_give_of_a_batch_that_fails_raises_for_its_ranks_and_the_next_goes_on() -> None:
    async def scene() -> None:
        rows = Rows()
        rows.refuses = {1}
        gathering = Gathering(rows.write)
        waiting = _give(gathering, "job", 0)
        await _turns()
        waiting += _give(gathering, "job", 1, 2)
        await _turns()
        rows.may_end.set()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert ended[0] == 1
        assert [str(each) for each in ended[1:]] == ["refused [1, 2]"] * 2
        assert await gathering.give(RankKey("job", 1, 3), "3!") == 3

    asyncio.run(scene())


def test_give_that_is_cancelled_takes_nothing_from_the_others() -> None:
    async def scene() -> None:
        rows = Rows()
        gathering = Gathering(rows.write)
        gone, stays = _give(gathering, "job", 0, 1)
        await _turns()
        gone.cancel()
        await _turns()
        rows.may_end.set()
        assert await stays == 1
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert rows.batches == [("job", 1, {0: "0!", 1: "1!"})]

    asyncio.run(scene())
