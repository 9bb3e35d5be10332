"""What becomes of a job when ranks fail or clocks run out, on a real engine."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import UNSTARTABLE, ensure_unstartable
from tests.lab.platform import Platform, wait_until

#: Doubles a string until the memory is gone.
EAT_MEMORY = """awk 'BEGIN { s = "xxxxxxxxxxxxxxxx"; while (1) s = s s }'"""
SMALL = {"memory": "24Mi"}


def ranks_of(client: ApiClient, job_id: str, attempt: int = 0) -> list[dict[str, Any]]:
    """Every rank of an attempt, by default of the latest."""
    answer = client.http.get(f"/batchJobs/{job_id}/ranks", params={"attempt": attempt})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["ranks"]
    return found


def states(client: ApiClient, job_id: str, attempt: int = 0) -> list[str]:
    return [rank["state"] for rank in ranks_of(client, job_id, attempt)]


def test_restart_all_runs_the_whole_gang_again_after_the_last_container_is_gone(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    job = client.shell(
        "echo attempt $LONGSHORE_ATTEMPT; [ $LONGSHORE_ATTEMPT$RANK = 11 ] && exit 3;"
        " [ $LONGSHORE_ATTEMPT = 1 ] && sleep 100; exit 0",
        image=busybox,
        ranks=3,
        rankFailurePolicy="RESTART_ALL",
        stopGracePeriod="1s",
    )
    done = client.wait_end(job["id"])
    assert (done["state"], done["attempt"], done["status"]) == ("COMPLETED", 2, "every rank exited 0")
    assert states(client, job["id"], 1) == ["STOPPED", "FAILED", "STOPPED"]
    assert states(client, job["id"], 2) == ["SUCCEEDED"] * 3
    assert {entry["message"] for entry in client.logs(job["id"], attempt=1)} == {"attempt 1"}
    assert client.lines(job["id"]) == ["attempt 2"] * 3
    (times,) = platform.query(
        "SELECT max(released_at) FILTER (WHERE attempt = 1), min(placed_at) FILTER (WHERE attempt = 2)"
        f" FROM ranks WHERE job_id = '{job['id']}'"
    )
    assert times[0] <= times[1]


def test_retry_policy_uses_up_its_attempts_with_back_off_and_says_so(client: ApiClient, busybox: str) -> None:
    began = time.monotonic()
    backoff = {"initial": "1s", "multiplier": 1}
    job = client.shell("echo no luck; exit 9", image=busybox, retryPolicy={"maxAttempts": 3, "backoff": backoff})
    done = client.wait_end(job["id"])
    assert time.monotonic() - began >= 2
    assert (done["state"], done["attempt"], done["reason"]) == ("FAILED", 3, "EXIT_CODE")
    assert done["status"] == "the job failed on node local: exit code 9: no luck; after 3 attempts"
    events = client.http.get(f"/batchJobs/{job['id']}/events", params={"filter": "state = QUEUED"}).json()[
        "events"
    ]
    assert [event["attempt"] for event in events] == [1, 2, 3]
    assert events[1]["status"] == (
        "attempt 1 of 3 failed: the job failed on node local: exit code 9: no luck; starting again in 1 s"
    )


@pytest.mark.parametrize(
    ("rule", "attempts"),
    [
        ({"exitCodes": ["40-42"]}, 1),
        ({"exitCodes": [43]}, 2),
        ({"logText": "disk quota"}, 1),
        ({"logText": "another"}, 2),
        ({"reasons": ["EXIT_CODE"]}, 1),
        ({"outOfMemory": True}, 2),
    ],
)
def test_retry_rule_that_says_fail_ends_the_job_where_it_matches(
    client: ApiClient, busybox: str, rule: dict[str, Any], attempts: int
) -> None:
    script = "echo over the disk quota; for i in 1 2 3 4 5; do echo; done; exit 42"
    policy = {"maxAttempts": 2, "rules": [{"action": "FAIL", **rule}]}
    done = client.wait_end(client.shell(script, image=busybox, retryPolicy=policy)["id"])
    assert (done["state"], done["attempt"]) == ("FAILED", attempts), done["status"]


def test_ignore_lets_the_others_go_on_and_completes_with_a_warning(client: ApiClient, busybox: str) -> None:
    script = "[ $RANK = 1 ] && { echo ouch; exit 5; }; sleep 1"
    done = client.wait_end(client.shell(script, image=busybox, ranks=3, rankFailurePolicy="IGNORE")["id"])
    assert (done["state"], done["reason"]) == ("COMPLETED", "RANKS_FAILED")
    assert done["status"] == (
        "2 of 3 ranks exited 0; rank 1 failed and was ignored:"
        " rank 1 failed first on node local: exit code 5: ouch"
    )


def test_ignore_of_every_rank_fails(client: ApiClient, busybox: str) -> None:
    done = client.wait_end(client.shell("exit 5", image=busybox, ranks=2, rankFailurePolicy="IGNORE")["id"])
    assert (done["state"], done["reason"]) == ("FAILED", "EXIT_CODE")


@pytest.mark.parametrize(("code", "state"), [(0, "COMPLETED"), (7, "FAILED")])
def test_main_rank_decides_and_stops_the_others(client: ApiClient, busybox: str, code: int, state: str) -> None:
    script = f"[ $RANK = 1 ] && exit 5; [ $RANK = 0 ] && {{ sleep 1; exit {code}; }}; sleep 60"
    job = client.shell(script, image=busybox, ranks=3, rankFailurePolicy="MAIN_RANK_DECIDES", stopGracePeriod="1s")
    done = client.wait_end(job["id"], 20)
    assert done["state"] == state, done["status"]
    main = "SUCCEEDED" if code == 0 else "FAILED"
    assert states(client, job["id"]) == [main, "FAILED", "STOPPED"]
    assert ("rank 0 exited 0" if code == 0 else "rank 0 failed") in done["status"]


def test_run_timeout_tells_the_ranks_then_kills_and_fails(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    job = client.shell(
        "trap 'echo told' TERM; while :; do sleep 0.1; done",
        image=busybox,
        ranks=2,
        timeouts={"run": "1s"},
        stopGracePeriod="1s",
    )
    done = client.wait_end(job["id"], 30)
    assert (done["state"], done["reason"]) == ("FAILED", "RUN_TIMEOUT")
    assert done["status"] == "stopped after running for 1 s (timeouts.run)"
    assert [(rank["state"], rank["reason"]) for rank in ranks_of(client, job["id"])] == [("STOPPED", "KILLED")] * 2
    assert client.lines(job["id"]) == ["told", "told"]
    platform.wait_at_rest()


def test_run_timeout_is_tried_again_only_where_a_rule_says_so(client: ApiClient, busybox: str) -> None:
    policies = [{"maxAttempts": 2}, {"maxAttempts": 2, "rules": [{"action": "RETRY", "reasons": ["RUN_TIMEOUT"]}]}]
    jobs = [
        client.shell("sleep 60", image=busybox, timeouts={"run": "1s"}, stopGracePeriod="1s", retryPolicy=policy)
        for policy in policies
    ]
    assert [client.wait_end(job["id"], 40)["attempt"] for job in jobs] == [1, 2]


def test_queue_timeout_fails_a_job_that_finds_no_room(client: ApiClient, busybox: str) -> None:
    job = client.shell("true", image=busybox, ranks=9, timeouts={"queue": "1s"}, retryPolicy={"maxAttempts": 5})
    done = client.wait_end(job["id"], 20)
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", "QUEUE_TIMEOUT", 1)
    assert done["status"].startswith("not placed within 1 s (timeouts.queue): ")
    assert "8" in done["status"], "what it waited for is said"


def test_ttl_after_finished_deletes_the_job(client: ApiClient, busybox: str) -> None:
    job = client.shell("true", image=busybox, ttlAfterFinished="1s")
    client.wait_end(job["id"])
    wait_until(lambda: client.http.get(f"/batchJobs/{job['id']}").status_code == 404, 20, "the job is gone")


def test_resources_and_working_directory_reach_the_container(client: ApiClient, busybox: str) -> None:
    script = """
    pwd
    cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes
    df -k /dev/shm | tail -1 | awk '{ print $2 }'
    """
    job = client.shell(
        script,
        image=busybox,
        resources={"cpu": "250m", "memory": "64Mi", "shmSize": "1Mi"},
        workingDirectory="/some/where",
    )
    done = client.wait_end(job["id"])
    assert done["state"] == "COMPLETED", done["status"]
    assert client.lines(job["id"]) == ["/some/where", str(64 << 20), "1024"]
    assert done["resources"] == {"cpu": "0.25", "memory": "64Mi", "shmSize": "1Mi"}


def test_ends_by_a_kill_leave_different_records(client: ApiClient, platform: Platform, busybox: str) -> None:
    scripts = {
        "out of memory": EAT_MEMORY,
        "a child": f"{EAT_MEMORY}; sleep 1; echo survived; exit 0",
        "killed by itself": "kill -9 $$",
        "killed by the operator": "echo up; sleep 60",
        "a segmentation fault": "kill -SEGV $$",
        "exit 137": "exit 137",
        "a child killed, and exit 137": "sh -c 'kill -9 $$'; exit $?",
        "killed by us": "trap '' TERM; echo up; while :; do sleep 0.1; done",
    }
    jobs = {
        name: client.shell(script, image=busybox, resources=SMALL, stopGracePeriod="0.5s")["id"]
        for name, script in scripts.items()
    }
    client.wait_for(jobs["killed by us"], lambda _: client.lines(jobs["killed by us"]) == ["up"])
    client.cancel(jobs["killed by us"])
    client.wait_for(
        jobs["killed by the operator"], lambda _: client.lines(jobs["killed by the operator"]) == ["up"]
    )
    platform.engine.api.kill(f"ls-{jobs['killed by the operator']}-1-0")
    found = {}
    for name, job_id in jobs.items():
        done = client.wait_end(job_id)
        (rank,) = ranks_of(client, job_id)
        found[name] = (
            done["state"],
            done["reason"],
            rank["state"],
            rank["reason"],
            rank["exitCode"],
            rank["signal"],
            rank["outOfMemory"],
        )
        assert not any("tini" in line for line in client.lines(job_id)), name
    # Whether the kernel takes the shell or its child is its own choice.
    assert found["out of memory"][5] in (0, 9)
    assert found == {
        "out of memory": (
            "FAILED",
            "OUT_OF_MEMORY",
            "FAILED",
            "OUT_OF_MEMORY",
            137,
            found["out of memory"][5],
            True,
        ),
        "a child": ("COMPLETED", "CHILD_OUT_OF_MEMORY", "SUCCEEDED", "CHILD_OUT_OF_MEMORY", 0, 0, True),
        "killed by itself": ("FAILED", "SIGNAL", "FAILED", "SIGNAL", 137, 9, False),
        "killed by the operator": ("FAILED", "SIGNAL", "FAILED", "SIGNAL", 137, 9, False),
        "a segmentation fault": ("FAILED", "SIGNAL", "FAILED", "SIGNAL", 139, 11, False),
        "exit 137": ("FAILED", "EXIT_CODE", "FAILED", "EXIT_CODE", 137, 0, False),
        "a child killed, and exit 137": ("FAILED", "EXIT_CODE", "FAILED", "EXIT_CODE", 137, 0, False),
        "killed by us": ("CANCELLED", "CANCELLED", "STOPPED", "KILLED", 137, 9, False),
    }


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("delay", ["", "sleep 1; "])
def test_failure_of_one_rank_stops_the_others_whichever_and_whenever(
    client: ApiClient, platform: Platform, busybox: str, rank: int, delay: str
) -> None:
    script = f"[ $RANK = {rank} ] && {{ {delay}echo bad; exit 8; }}; sleep 60"
    job = client.shell(script, image=busybox, ranks=3, stopGracePeriod="1s")
    done = client.wait_end(job["id"], 20)
    assert done["status"] == f"rank {rank} failed first on node local: exit code 8: bad"
    assert [found["state"] for found in ranks_of(client, job["id"]) if found["rank"] != rank] == ["STOPPED"] * 2
    platform.wait_at_rest()


def test_cancels_that_race_the_natural_end_leave_one_end_each_and_nothing_else(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    jobs = [client.shell(f"sleep 0.{n % 10}", image=busybox, stopGracePeriod="1s")["id"] for n in range(40)]
    answers = []
    for job_id in jobs:
        client.wait_for(job_id, lambda job: job["state"] not in ("QUEUED", "PENDING"))
        answers += [client.http.post(f"/batchJobs/{job_id}:cancel", json={}).status_code for _ in range(2)]
    assert set(answers) <= {200, 400}
    for job_id in jobs:
        done = client.wait_end(job_id)
        (rank,) = ranks_of(client, job_id)
        ends = {"COMPLETED": {"SUCCEEDED"}, "CANCELLED": {"SUCCEEDED", "STOPPED"}}
        assert rank["state"] in ends[done["state"]], (done, rank)
        events = client.http.get(f"/batchJobs/{job_id}/events").json()["events"]
        assert sum(event["state"] == done["state"] for event in events if event["rank"] is None) == 1
    platform.wait_at_rest()


def test_user_that_the_image_lacks_is_not_tried_again(client: ApiClient, platform: Platform, busybox: str) -> None:
    ensure_unstartable(platform.engine)
    done = client.wait_end(client.shell("true", image=UNSTARTABLE, retryPolicy={"maxAttempts": 1})["id"])
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", "COMMAND_NOT_STARTED", 1), done["status"]
    assert "unable to find user nosuch" in done["status"]


def test_pull_timeout_names_the_image_that_was_waited_for(client: ApiClient) -> None:
    """A registry that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        image = f"127.0.0.1:{silent.getsockname()[1]}/x:1"
        done = client.wait_end(client.shell("true", image=image, timeouts={"pull": "1s"})["id"], 30)
    assert (done["state"], done["reason"]) == ("FAILED", "PULL_TIMEOUT"), done["status"]
    assert image in done["status"]
