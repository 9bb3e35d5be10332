"""Jobs through the Python client, of both kinds: what is sent, what is answered, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from client import (
    AsyncJob,
    AsyncLongshore,
    Conflict,
    Invalid,
    Job,
    KeyRefused,
    Longshore,
    LongshoreError,
    NotFound,
    TimeIsUp,
)
from tests.api.conftest import ACCOUNT, IMAGE, Served
from tests.client.conftest import Say


def test_submission_is_answered_with_every_field_that_it_said(longshore: Longshore) -> None:
    job = longshore.submit(
        "nightly-1",
        name="nightly",
        image=IMAGE,
        pool="default",
        ranks=3,
        python=["train.py", "--lr", "0.1"],
        files={"train.py": "print(1)"},
        env={"A": "ä"},
        annotations={"team": "vision"},
        memory="1Gi",
        cpu=1.5,
        run_timeout=timedelta(minutes=10),
        queue_timeout=3600,
        attempts=2,
        priority=5,
        fields={"rank_failure_policy": "IGNORE"},
    )
    assert isinstance(job, Job)
    assert (job.id, job.display_name, job.num_ranks, job.state) == ("nightly-1", "nightly", 3, "QUEUED")
    assert job.python_executor == {"targetType": "FILENAME", "target": "train.py", "args": ["--lr", "0.1"]}
    assert (job.env_vars, job.annotations, job.priority) == ({"A": "ä"}, {"team": "vision"}, 5)
    assert job.timeouts is not None and (job.timeouts["run"], job.timeouts["queue"]) == ("600s", "3600s")
    assert job.rank_failure_policy == "IGNORE" and job.uploads[0].size_bytes == 8
    assert job.create_time is not None and job.create_time.tzinfo is not None
    # What this client does not know is kept.
    assert job.fields["stopGracePeriod"] is None and longshore.job(job.name).file("train.py") == b"print(1)"


def test_both_clients_answer_the_same(served: Served, longshore: Longshore) -> None:
    made = longshore.submit(image=IMAGE, pool="default", shell="true")

    async def look() -> tuple[AsyncJob, list[str], int]:
        async with AsyncLongshore(served.url, served.admin_key, ACCOUNT) as looped:
            job = await looped.job(made.id)
            listed = [each.id async for each in looped.jobs("shellExecutor:*", limit=1)]
            return await job.refresh(), listed, len(await job.ranks())

    job, listed, ranks = asyncio.run(look())
    assert (job.fields, listed, ranks) == (longshore.job(made.id).fields, [made.id], 1)


def test_list_longer_than_a_page_gives_each_job_once(longshore: Longshore) -> None:
    ids = {longshore.submit(image=IMAGE, pool="default", name="many").id for _ in range(203)}
    found = [job.id for job in longshore.jobs('displayName = "many"')]
    assert len(found) == 203 and set(found) == ids
    assert len(list(longshore.jobs('displayName = "many"', limit=201))) == 201


def test_refusal_carries_the_sentence_the_status_and_every_field(longshore: Longshore) -> None:
    with pytest.raises(Invalid) as refused:
        longshore.submit(image="no image", pool="default", ranks=-1)
    assert (refused.value.status, refused.value.code) == (400, 3)
    assert {fault.field for fault in refused.value.faults} == {"imageRef", "numRanks"}
    assert refused.value.field in ("imageRef", "numRanks") and refused.value.sentence


def test_what_does_not_exist_and_what_exists_already_are_told_apart(longshore: Longshore) -> None:
    longshore.submit("taken", image=IMAGE, pool="default")
    with pytest.raises(Conflict):
        longshore.submit("taken", image=IMAGE, pool="default", name="another")
    with pytest.raises(NotFound):
        longshore.job("nope")
    # What would be another path is no id, and is asked of nobody.
    with pytest.raises(LongshoreError, match="is no id"):
        longshore.job("nope/..")


def test_wrong_key_is_refused_at_once(served: Served) -> None:
    with Longshore(served.url, "lsk_wrong", ACCOUNT) as longshore, pytest.raises(KeyRefused):
        longshore.job("any")


def test_one_submission_key_is_one_job_wherever_it_comes_from(longshore: Longshore) -> None:
    first = longshore.submit(image=IMAGE, pool="default", idempotency_key="k1")
    again = longshore.submit(image=IMAGE, pool="default", idempotency_key="k1")
    other = longshore.submit(image=IMAGE, pool="default")
    assert first.id == again.id != other.id


def test_check_says_what_would_be_and_stores_nothing(longshore: Longshore) -> None:
    before = len(list(longshore.jobs()))
    checked = longshore.check(image=IMAGE, pool="default", ranks=4)
    assert checked.state == "STATE_UNSPECIFIED" and checked.status and checked.reason
    assert len(list(longshore.jobs())) == before


def test_clone_changes_what_it_is_told_to(longshore: Longshore) -> None:
    job = longshore.submit(image=IMAGE, pool="default", ranks=2, files={"a.txt": "a"}, env={"A": "1"})
    copy = longshore.clone(job.id, ranks=5)
    assert (copy.num_ranks, copy.env_vars, copy.uploads) == (5, {"A": "1"}, job.uploads) and copy.id != job.id


def test_wait_ends_with_the_job_and_gives_up_in_time(
    longshore: Longshore, running: Job, end: Callable[[], None]
) -> None:
    with pytest.raises(TimeIsUp):
        running.wait(0.3)
    with pytest.raises(TimeIsUp):
        running.exit_code()
    end()
    assert running.wait().state == running.wait(5).state == "COMPLETED" and running.exit_code() == 0


def test_output_with_separators_of_lines_that_are_no_line_feeds_is_followed_as_it_is(
    served: Served, running: Job, say: Say, end: Callable[[], None]
) -> None:
    say(0, "a\u2028b\u0085c", "after")
    end()

    async def follow() -> list[str]:
        async with AsyncLongshore(served.url, served.admin_key, ACCOUNT) as looped:
            return [entry.message async for entry in (await looped.job(running.id)).follow()]

    assert [entry.message for entry in running.follow()] == asyncio.run(follow()) == ["a\u2028b\u0085c", "after"]


def test_cancelled_job_has_its_own_exit_code_and_delete_is_the_end_of_it(longshore: Longshore) -> None:
    job = longshore.submit(image=IMAGE, pool="default", ranks=4)
    job.cancel()
    job.cancel()
    ended = job.wait(10)
    assert (ended.state, job.exit_code()) == ("CANCELLED", 143)
    job.delete()
    with pytest.raises(NotFound):
        job.refresh()


def test_update_changes_the_name_and_answers_it(longshore: Longshore) -> None:
    job = longshore.submit(image=IMAGE, pool="default", name="before")
    changed = job.update(display_name="after", shared=True)
    assert (changed.display_name, changed.shared, job.display_name) == ("after", True, "before")


def test_pools_nodes_users_and_keys(longshore: Longshore, may_own_nodes: None) -> None:
    pool = longshore.create_pool("reads", {"displayName": "Reads"})
    node = longshore.create_node(pool.id, "n1", {"endpoint": "unix:///run/reads.sock", "slots": 3})
    assert (node.id, node.slots, node.slots_in_use) == ("n1", 3, 0)
    # No supervisor has seen its engine.
    assert longshore.drain("reads", "n1").state == longshore.undrain("reads", "n1").state == "DOWN"
    assert [each.id for each in longshore.nodes("reads")] == ["n1"]
    assert longshore.update_pool("reads", {"displayName": "Read"}).display_name == "Read"
    assert longshore.pool("reads").docker_node_pool["network"] == pool.docker_node_pool["network"]
    longshore.delete_node("reads", "n1")
    longshore.delete_pool("reads")
    user = longshore.create_user("bob@acme.example")
    key = longshore.create_key("laptop", user=user.id)
    assert key.key.startswith("lsk_") and key.key not in repr(key)
    assert key.key_id in [each.key_id for each in longshore.api_keys()]
    longshore.revoke_key(key.key_id)
    longshore.delete_user(user.id)
    assert user.id not in [each.id for each in longshore.users()]
