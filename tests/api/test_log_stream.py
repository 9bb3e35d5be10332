"""Following output: every line once, in order of time, from where a client left off, until the job or key ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import log_feed
from api.job_watch import JobWatch
from api.log_feed import Feed, Follower, LogFeeds
from api.log_stream import Entries, LogStream, Question
from api.looking import LOOK_SECONDS
from core.accounts import Caller
from core.database import Database
from core.jobs import job_moves, rank_moves
from core.jobs.reading import get_job
from core.jobs.watching import last_move
from core.log_filter import EVERYTHING
from core.log_records import STDERR, STDOUT, LogRecord
from core.log_tail import NewEntry
from core.logs import ChunkToStore, LogEntry, append_chunks
from core.states import JobState
from tests.api.conftest import ACCOUNT, Served
from tests.api.event_reader import EventReader, reading
from tests.lab.platform import wait_until

Create = Callable[..., str]
Say = Callable[..., None]
START_NS = 1_767_225_600 * 10**9
MILLISECOND = 10**6


def following(
    served: Served, job_id: str, last_id: str = "", **params: Any
) -> AbstractContextManager[EventReader]:
    return reading(served.url, served.user_key, f"/batchJobs/{job_id}:streamLogs", last_id, **params)


def lines(reader: EventReader) -> list[str]:
    return [entry["message"] for name, _, data in reader.events if name == "log" for entry in data["entries"]]


@pytest.fixture
def job_id(create: Create, database: Database) -> str:
    """Of two ranks, and running."""
    made = create(numRanks=2)
    begin(database, made, 1)
    return made


def begin(database: Database, job_id: str, attempt: int) -> None:
    with database.transaction() as connection:
        assert job_moves.move_job(connection, job_id, attempt, JobState.PENDING, status="")
        assert job_moves.move_job(connection, job_id, attempt, JobState.RUNNING, status="")


def end(database: Database, job_id: str) -> None:
    with database.transaction() as connection:
        assert job_moves.move_job(connection, job_id, 1, JobState.COMPLETED, status="every rank exited 0")


@pytest.fixture
def say(database: Database, job_id: str) -> Say:
    """Store lines of a rank as one chunk, the first of them printed at that millisecond."""
    seqs: dict[tuple[int, int], int] = {}

    def store(rank: int, at: int, *said: str, attempt: int = 1, stream: int = STDOUT) -> None:
        records = [
            LogRecord(START_NS + (at + index) * MILLISECOND, stream, f"{line}\n".encode())
            for index, line in enumerate(said)
        ]
        seq = seqs[attempt, rank] = seqs.get((attempt, rank), -1) + 1
        append_chunks(database, [ChunkToStore(job_id, attempt, rank, seq, records, 0, 0)])

    return store


def test_output_is_told_from_its_beginning_then_as_it_comes_until_the_end(
    served: Served, admin: httpx.Client, database: Database, job_id: str, say: Say
) -> None:
    say(0, 0, "a", "c")
    say(1, 0, "b", "d")
    with following(served, job_id) as reader:
        wait_until(lambda: lines(reader) == ["a", "b", "c", "d"], 10, "what was stored is told")
        say(1, 20, "f")
        say(0, 10, "e")
        wait_until(lambda: len(lines(reader)) == 6, 10, "what comes is told")
        say(0, 30, "g")
        end(database, job_id)
        assert reader.closed.wait(10)
    assert sorted(lines(reader)) == list("abcdefg")
    assert reader.names()[-1] == "end" and reader.events[-1][2]["state"] == "COMPLETED"
    page = admin.get(f"/batchJobs/{job_id}:getLogs", params={"startFromHead": "true"}).json()["entries"]
    told = [entry for name, _, data in reader.events if name == "log" for entry in data["entries"]]
    assert sorted(told, key=lambda entry: str(entry["message"])) == page
    with following(served, job_id) as again:
        assert again.closed.wait(10)
    assert lines(again) == list("abcdefg")


def test_stream_goes_on_after_any_of_its_events_without_gap_or_repeat(
    served: Served, database: Database, job_id: str, say: Say
) -> None:
    whole: list[str] = []
    with following(served, job_id) as reader:
        for number in range(4):
            for rank in (0, 1):
                say(rank, 10 * number + 5 * rank, *(f"{rank} {number} {index}" for index in range(3)))
            wait_until(lambda: len(lines(reader)) == 6 * (number + 1), 10, "it is told")  # noqa: B023
    whole, ids = lines(reader), [event_id for _, event_id, _ in reader.events]
    assert len(ids) == len(set(ids)) >= 4 and all(ids)
    say(0, 50, "last")
    end(database, job_id)
    for index, event_id in enumerate(ids):
        seen = EventReader(events=reader.events[: index + 1])
        with following(served, job_id, event_id) as rest:
            assert rest.closed.wait(10)
        assert sorted(lines(seen) + lines(rest)) == sorted([*whole, "last"])


def test_stream_and_regex_choose_lines_stored_and_new_and_the_id_goes_on_with_them_alone(
    served: Served, database: Database, job_id: str, say: Say
) -> None:
    say(0, 0, "loss 1", "loss x")
    say(1, 0, "loss 2", stream=STDERR)
    chosen = {"regex": r"^loss \d$", "stream": "stdout"}
    with following(served, job_id, **chosen) as reader:
        wait_until(lambda: lines(reader) == ["loss 1"], 10, "what was stored is told")
        say(1, 10, "loss 3", stream=STDERR)
        say(0, 10, "noise", "loss 4")
        wait_until(lambda: lines(reader) == ["loss 1", "loss 4"], 10, "what comes is told")
    assert {entry["stream"] for _, _, data in reader.events for entry in data["entries"]} == {"stdout"}
    last_id = reader.events[-1][1]
    end(database, job_id)
    with following(served, job_id, last_id, **chosen) as rest:
        assert rest.closed.wait(10)
    assert rest.names() == ["end"]
    for params in ({}, {**chosen, "stream": "stderr"}, {**chosen, "regex": "^loss"}):
        with following(served, job_id, last_id, **params) as refused:
            assert refused.status == 400
    with following(served, job_id, stream="stderr") as other:
        assert other.closed.wait(10)
    assert lines(other) == ["loss 2", "loss 3"]


@pytest.mark.timeout(120)
def test_slow_expression_holds_up_nobody_else(served: Served, database: Database, job_id: str, say: Say) -> None:
    hard = "ab" * 8191
    with (
        following(served, job_id, regex="(?:(?:a|b)?){900}c") as slow,
        following(served, job_id, filter="hello") as other,
    ):
        for number in range(2):
            say(0, 100 * number, *[hard] * 6, "hello")
            wait_until(lambda: len(lines(other)) == number + 1, 10, "others are told")  # noqa: B023
        end(database, job_id)
        assert other.closed.wait(10) and slow.closed.wait(90)
    assert lines(slow) == [] and slow.names() == ["end"]


def test_filter_and_ranks_choose_lines_stored_and_new_and_the_id_goes_on_with_them_alone(
    served: Served, database: Database, job_id: str, say: Say
) -> None:
    say(0, 0, "loss 1", "other")
    say(1, 0, "loss 2")
    with following(served, job_id, ranks="0", filter="loss") as reader:
        wait_until(lambda: lines(reader) == ["loss 1"], 10, "what was stored is told")
        say(1, 10, "loss 3")
        say(0, 10, "noise", "loss 4")
        wait_until(lambda: lines(reader) == ["loss 1", "loss 4"], 10, "what comes is told")
    last_id = reader.events[-1][1]
    end(database, job_id)
    with following(served, job_id, last_id, ranks="0", filter="loss") as rest:
        assert rest.closed.wait(10)
    assert rest.names() == ["end"]
    for params in ({}, {"ranks": "0"}, {"ranks": "0", "filter": "lose"}):
        with following(served, job_id, last_id, **params) as refused:
            assert refused.status == 400


@pytest.mark.parametrize(
    ("name", "value"), [("ranks", "2"), ("ranks", "x"), ("stream", "1"), ("regex", "("), ("streams", "stdout")]
)
def test_stream_with_a_wrong_parameter_is_refused_naming_it(
    served: Served, job_id: str, name: str, value: str
) -> None:
    headers = {"Authorization": f"Bearer {served.user_key}"}
    path = f"{served.url}/v1/accounts/acme/batchJobs/{job_id}:streamLogs"
    answer = httpx.get(path, params={name: value}, headers=headers)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["details"][0]["fieldViolations"]] == [name]


def test_stream_goes_on_with_the_attempt_that_follows(
    served: Served, database: Database, job_id: str, say: Say
) -> None:
    say(0, 0, "first")
    with following(served, job_id) as reader:
        wait_until(lambda: lines(reader) == ["first"], 10, "the first attempt's output is told")
        first_id = reader.events[-1][1]
        say(1, 1, "late")
        with database.transaction() as connection:
            assert job_moves.requeue_job(
                connection, job_id, 1, reason="RETRIED", status="again", delay_seconds=0, charged=True
            )
            rank_moves.insert_ranks(connection, job_id, 2, 2)
        begin(database, job_id, 2)
        say(0, 20, "second", attempt=2)
        wait_until(lambda: lines(reader) == ["first", "late", "second"], 10, "the second attempt's output is told")
    assert [data["attempt"] for name, _, data in reader.events if name == "log"] == [1, 1, 2]
    with following(served, job_id, first_id) as rest:
        wait_until(lambda: lines(rest) == ["late", "second"], 10, "both are gone on with")


def test_client_that_falls_behind_is_told_everything_all_the_same(
    served: Served, database: Database, job_id: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "_MAX_BEHIND", 1)
    record = get_job(database, ACCOUNT, job_id)
    key_id = served.user_key.split("_")[1]
    caller = Caller(ACCOUNT, 0, "user", "user@acme.example", False, False, False, key_id)

    async def follow() -> tuple[list[str], list[str]]:
        feeds, watch = LogFeeds(database), JobWatch(database)
        stream = LogStream(feeds, watch, caller, record, Question(None, EVERYTHING, 1))
        told, said = list[str](), ["first"]
        async for event in stream.events(last_move(database, record.id)):
            if not isinstance(event, Entries):
                break
            told += [entry.record.data.decode().strip() for entry in event.entries]
            # It reads nothing while more comes than is kept for it.
            while told == ["first"] and stream.follower is not None and not stream.follower.lagging:
                said.append(f"line {len(said)}")
                await asyncio.to_thread(say, 0, 10 * len(said), said[-1])
                await asyncio.sleep(LOOK_SECONDS)
            if len(told) == len(said):
                await asyncio.to_thread(end, database, job_id)
        await watch.close()
        await feeds.close()
        return told, said

    say(0, 0, "first")
    told, said = asyncio.run(asyncio.wait_for(follow(), 60))
    assert told == said and len(said) > 2


def test_slow_follower_is_let_go_and_costs_no_more_memory() -> None:
    follower = Follower()
    for _ in range(1000):
        follower.tell(())
    assert follower.lagging and follower.news.qsize() == follower.news.maxsize
    follower.news.get_nowait()
    follower.tell(())
    assert follower.news.qsize() == follower.news.maxsize - 1, "nothing comes after a gap"


_PRINTED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 3)), max_size=40)


@given(_PRINTED)
def test_feed_tells_every_entry_once_each_rank_in_order(printed: list[tuple[int, int, int]]) -> None:
    """(rank, time, look in which it is found after the one before of its rank)"""
    found: dict[int, list[NewEntry]] = {}
    looks: dict[int, int] = {}
    times: dict[int, int] = {}
    for number, (rank, time_ns, later) in enumerate(printed):
        looks[rank] = looks.get(rank, 0) + later
        times[rank] = max(times.get(rank, 0), time_ns)
        entry = LogEntry(rank, LogRecord(times[rank], 1, str(number).encode()))
        found.setdefault(looks[rank], []).append(NewEntry(entry, (number, 1)))
    feed, told = Feed({}), []
    for look in range(max(found, default=0) + 1):
        told += feed.take(found.get(look, []))
    told += feed.take([])
    assert len(told) == len(printed) and not feed.held
    for rank in times:
        of_rank = [int(new.entry.record.data) for new in told if new.entry.rank == rank]
        assert of_rank == [number for number, each in enumerate(printed) if each[0] == rank]


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60))
def test_feed_tells_in_order_of_time_what_is_stored_within_a_look(late: list[int]) -> None:
    """Entry k is printed at look k, by a rank of its own, and stored then or one look later."""
    feed, told = Feed({}), []
    entries = [NewEntry(LogEntry(k, LogRecord(k + 1, 1, b"")), (0, 1)) for k in range(len(late))]
    for look in range(len(late) + 1):
        told += feed.take([entries[k] for k in (look - 1, look) if 0 <= k < len(late) and k + late[k] == look])
    told += feed.take([])
    told += feed.take([])
    assert [new.entry.rank for new in told] == list(range(len(late)))


def test_feed_is_shared_and_forgotten_when_its_last_follower_is_gone(
    database: Database, job_id: str, say: Say
) -> None:
    say(0, 0, "before")

    async def follow() -> list[bytes]:
        feeds, attempt = LogFeeds(database), (job_id, 1)
        async with feeds.follow(attempt) as one:
            async with feeds.follow(attempt) as other:
                assert feeds.count == 1
                await asyncio.to_thread(say, 1, 10, "new")
                told = [(await asyncio.wait_for(each.news.get(), 10))[0] for each in (one, other)]
                assert told[0] is told[1], "read once for both"
            assert feeds.count == 1
        assert feeds.count == 0
        await feeds.close()
        return [new.entry.record.data for new in told]

    assert asyncio.run(follow()) == [b"new\n"] * 2
