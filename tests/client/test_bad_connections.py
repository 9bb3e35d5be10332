"""Lost answers, cut streams, platforms that say "later": nothing is done twice, nothing is lost or repeated."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest
from prometheus_client import REGISTRY

from client import AsyncLongshore, Job, Longshore, NoConnection, NotNow, Refused, TooMuch
from core.settings import Settings
from tests.api.conftest import ACCOUNT, IMAGE, Served, serving
from tests.client.conftest import Say
from tests.lab.platform import wait_until
from tests.lab.proxy import ReplyProxy


def test_submission_whose_answer_is_lost_twice_is_one_job(
    longshore: Longshore, by_proxy: Longshore, proxy: ReplyProxy
) -> None:
    proxy.drop_reply_after([b"POST /v1/accounts/acme/batchJobs"], count=2)
    job = by_proxy.submit(image=IMAGE, pool="default", name="lost-answer")
    assert proxy.dropped_count == 2
    assert [each.id for each in longshore.jobs('displayName = "lost-answer"')] == [job.id]


def test_deletion_whose_answer_is_lost_is_done_and_no_error(
    longshore: Longshore, by_proxy: Longshore, proxy: ReplyProxy
) -> None:
    pool = longshore.create_pool("lost")
    proxy.drop_reply_after([b"DELETE /v1/accounts/acme/nodePools/lost"])
    by_proxy.delete_pool(pool.id)
    assert proxy.dropped_count == 1


def test_making_of_a_key_whose_answer_is_lost_is_not_repeated(
    longshore: Longshore, by_proxy: Longshore, proxy: ReplyProxy
) -> None:
    before = len(list(longshore.api_keys()))
    proxy.drop_reply_after([b"POST /v1/accounts/acme/apiKeys"])
    with pytest.raises(NoConnection, match="whether it was done is not known"):
        by_proxy.create_key("once")
    assert len(list(longshore.api_keys())) == before + 1


def test_nobody_there_is_told_within_the_time_that_is_tried(served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        told: list[str] = []
        began = time.monotonic()
        with (
            Longshore(url, served.admin_key, ACCOUNT, retry_seconds=2, on_retry=told.append) as longshore,
            pytest.raises(NoConnection, match="cannot be reached"),
        ):
            longshore.job("any")
    assert time.monotonic() - began < 10 and told and all("trying again" in each for each in told)


def test_key_whose_rate_is_spent_waits_for_as_long_as_it_is_told_to(served: Served, settings: Settings) -> None:
    slow = settings.model_copy(update={"rate_limit_per_second": 0.5, "rate_limit_burst": 1})
    told: list[str] = []
    with serving(slow) as url, Longshore(url, served.user_key, ACCOUNT, on_retry=told.append) as longshore:
        began = time.monotonic()
        for _ in range(3):
            list(longshore.jobs(limit=1))
        lasted = time.monotonic() - began
    # Two of the three were told to come again after two seconds, and came once.
    assert len(told) == 2 and 2 <= lasted < 15


def test_refused_for_too_long_raises_what_the_platform_said(served: Served, settings: Settings) -> None:
    slow = settings.model_copy(update={"rate_limit_per_second": 0.01, "rate_limit_burst": 1})
    with serving(slow) as url, Longshore(url, served.user_key, ACCOUNT, retry_seconds=1) as longshore:
        with pytest.raises(TooMuch) as refused:
            for _ in range(3):
                list(longshore.jobs(limit=1))
        assert refused.value.status == 429 and refused.value.sentence


def test_platform_without_its_database_is_not_now(served: Served, settings: Settings) -> None:
    gone = settings.model_copy(update={"database_url": "postgresql://app:pw@127.0.0.1:1/x"})
    with (
        serving(gone) as url,
        Longshore(url, served.user_key, ACCOUNT, retry_seconds=0.1) as longshore,
        pytest.raises(NotNow),
    ):
        longshore.job("any")


@pytest.mark.parametrize(
    "body",
    [
        "html",
        "[]",
        '{"message": ""}',
        '{"message": "no", "code": "not_found"}',
        '{"message": "no", "code": [5]}',
        '{"message": "no", "details": 7}',
        '{"message": "no", "details": ["x"]}',
        '{"message": "no", "details": [{"fieldViolations": ["x"]}]}',
    ],
)
def test_something_else_that_answers_there_is_named_for_what_it_is(served: Served, body: str) -> None:
    answered = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(answered.encode())
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            Longshore(url, served.admin_key, ACCOUNT) as longshore,
            pytest.raises(Refused, match="is not Longshore"),
        ):
            longshore.job("any")


def test_output_followed_over_a_connection_that_breaks_has_no_gap_and_no_repeat(
    by_proxy: Longshore, proxy: ReplyProxy, running: Job, say: Say, end: Callable[[], None]
) -> None:
    seen: list[str] = []

    def read() -> None:
        for entry in by_proxy.job(running.id).follow():
            seen.append(entry.message)  # noqa: PERF401  # seen as it comes

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for number in range(5):
        say(0, f"a{number}", f"b{number}", at=number * 10)
        wait_until(lambda n=number: f"b{n}" in seen, 20, "what was said is told")  # type: ignore[misc]
        proxy.cut()
        say(1, f"c{number}", at=number * 10 + 5)
        proxy.heal()
    end()
    reader.join(30)
    assert not reader.is_alive()
    assert sorted(seen) == sorted(f"{letter}{number}" for letter in "abc" for number in range(5))


def test_output_is_gone_on_with_after_an_entry_by_another_client(
    served: Served, longshore: Longshore, running: Job, say: Say, end: Callable[[], None]
) -> None:
    say(0, "one", "two")
    first = []
    for entry in running.follow():
        first.append(entry)
        if entry.event_id:
            break
    say(0, "three", at=100)
    end()

    async def rest() -> list[str]:
        async with AsyncLongshore(served.url, served.user_key, ACCOUNT) as looped:
            job = await looped.job(running.id)
            return [entry.message async for entry in job.follow(after=first[-1].event_id)]

    assert [*(entry.message for entry in first), *asyncio.run(rest())] == ["one", "two", "three"]
    assert [entry.message for entry in running.logs(newest_first=True, limit=2)] == ["three", "two"]
    assert [entry.message for entry in running.logs(regex="^t", ranks=[0])] == ["two", "three"]


def open_streams() -> float:
    """Of the served API, which is a thread of this process."""
    return REGISTRY.get_sample_value("longshore_http_streams_open") or 0


def test_wait_over_a_connection_that_breaks_ends_with_the_job(
    by_proxy: Longshore, proxy: ReplyProxy, running: Job, end: Callable[[], None]
) -> None:
    ended: list[str] = []
    waiter = threading.Thread(target=lambda: ended.append(by_proxy.job(running.id).wait().state), daemon=True)
    wait_until(lambda: not open_streams(), 20, "no other test's stream is open")
    waiter.start()
    wait_until(lambda: open_streams() == 1, 20, "the watch is open")
    proxy.cut()
    end()
    proxy.heal()
    waiter.join(30)
    assert ended == ["COMPLETED"]


def test_wait_of_some_seconds_tries_no_longer_than_those(
    by_proxy: Longshore, proxy: ReplyProxy, running: Job
) -> None:
    job = by_proxy.job(running.id)
    proxy.cut()
    began = time.monotonic()
    with pytest.raises(NoConnection):
        job.wait(1)
    assert time.monotonic() - began < 8 < by_proxy.retry_seconds


def test_quiet_stream_that_breaks_twice_long_after_each_other_goes_on(
    served: Served, running: Job, end: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.event_stream._PING_SECONDS", 0.1)
    seen: list[str] = []
    proxy = ReplyProxy(int(served.url.rpartition(":")[2]))
    with (
        closing(proxy),
        Longshore(f"http://127.0.0.1:{proxy.port}", served.admin_key, ACCOUNT, retry_seconds=1) as longshore,
    ):
        job = longshore.job(running.id)
        reader = threading.Thread(target=lambda: seen.extend(each.event for each in job.watch()), daemon=True)
        reader.start()
        for number in (1, 2):
            wait_until(lambda n=number: seen.count("job") == n, 20, "the watch is open")  # type: ignore[misc]
            proxy.cut()
            broke_at = time.monotonic()
            proxy.heal()
            wait_until(lambda since=broke_at: time.monotonic() > since + 1.5, 10, "what was left is over")  # type: ignore[misc]
        wait_until(lambda: seen.count("job") == 3, 20, "the watch is open again")
        end()
        reader.join(20)
    assert seen == ["job", "job", "job", "state", "end"]


def test_watch_that_always_breaks_after_its_snapshot_gives_up_in_time(
    served: Served, running: Job, proxy: ReplyProxy
) -> None:
    told: list[str] = []
    snapshots, began = 0, time.monotonic()
    with (
        Longshore(
            f"http://127.0.0.1:{proxy.port}", served.admin_key, ACCOUNT, retry_seconds=2, on_retry=told.append
        ) as longshore,
        pytest.raises(NoConnection),
    ):
        for change in longshore.job(running.id).watch():
            assert change.event == "job" and time.monotonic() < began + 15
            snapshots += 1
            proxy.cut()
            proxy.heal()
    assert snapshots > 1 and len(told) == snapshots - 1


def test_stream_of_a_key_that_is_revoked_ends_with_its_refusal(served: Served, running: Job) -> None:
    with Longshore(served.url, served.admin_key, ACCOUNT) as admin:
        key = admin.create_key("short")
        told: list[str] = []
        with Longshore(served.url, key.key, ACCOUNT, on_retry=told.append) as longshore:
            changes = longshore.job(running.id).watch()
            assert next(changes).event == "job"
            admin.revoke_key(key.key_id)
            with pytest.raises(Refused) as refused:
                list(changes)
    assert refused.value.status == 401 and told == ["the stream ended; trying again"]
