"""The road of a job: placed, launched, watched, ended; what it printed; what is left of it."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest

from tests.lab.api_client import ENDED, ApiClient
from tests.lab.platform import Platform, wait_until


def test_shell_job_exits_0_completes_with_its_output(client: ApiClient, busybox: str) -> None:
    job = client.shell("echo out; echo err >&2", image=busybox)
    assert job["state"] == "QUEUED"
    done = client.wait_end(job["id"])
    assert (done["state"], done["status"]) == ("COMPLETED", "exited 0")
    assert done["createTime"] <= done["startTime"] <= done["endTime"]
    assert sorted(client.lines(job["id"])) == ["err", "out"]


def test_gang_ranks_meet_by_name_before_anything_else(client: ApiClient, busybox: str) -> None:
    script = """
    for peer in $(echo $LONGSHORE_RANKS | tr , ' '); do grep -q "[[:space:]]$peer\\b" /etc/hosts || exit 9; done
    if [ $RANK = 0 ]; then
        # A server whose input is at its end says so to its client, which may then leave before it has spoken.
        mkfifo /tmp/open; exec 3<>/tmp/open
        for i in 1 2 3; do nc -l -p 400$i -w 20 <&3 & done; wait
    else
        until echo "hello from $RANK" | nc rank-0 400$RANK; do sleep 0.1; done
    fi
    """
    job = client.shell(script, image=busybox, ranks=4)
    done = client.wait_end(job["id"])
    assert done["state"] == "COMPLETED", done["status"]
    assert sorted(client.lines(job["id"], rank=0)) == [f"hello from {rank}" for rank in (1, 2, 3)]


def test_gang_one_rank_fails_the_others_are_stopped_and_the_first_is_named(
    client: ApiClient, busybox: str
) -> None:
    job = client.shell(
        "[ $RANK = 1 ] && { echo out of luck; exit 3; }; sleep 60", image=busybox, ranks=3, stopGracePeriod="2s"
    )
    done = client.wait_end(job["id"], 20)
    assert done["state"] == "FAILED"
    assert done["status"] == "rank 1 failed first on node local: exit code 3: out of luck"


def test_stop_of_a_rank_that_ignores_sigterm_kills_it_after_the_grace(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    job = client.shell("trap '' TERM; echo up; while :; do sleep 1; done", image=busybox, stopGracePeriod="1s")
    client.wait_for(job["id"], lambda _: client.lines(job["id"]) == ["up"])
    asked = time.monotonic()
    client.cancel(job["id"])
    done = client.wait_end(job["id"], 15)
    assert done["state"] == "CANCELLED"
    assert time.monotonic() - asked >= 1
    assert platform.query(f"SELECT state, exit_code FROM ranks WHERE job_id = '{job['id']}'") == [("STOPPED", 137)]


def test_cancel_of_a_queued_job_ends_it_without_a_container(client: ApiClient, busybox: str) -> None:
    job = client.shell("true", image=busybox, ranks=9)
    client.wait_for(job["id"], lambda seen: "pool has 8" in seen["status"])
    client.cancel(job["id"])
    assert client.get(job["id"])["state"] == "CANCELLED"
    client.cancel(job["id"])


def test_cancel_of_a_completed_job_is_refused(client: ApiClient, busybox: str) -> None:
    job = client.shell("true", image=busybox)
    client.wait_end(job["id"])
    answer = client.http.post(f"/batchJobs/{job['id']}:cancel", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, 9)


def test_delete_of_a_live_job_stops_it_and_then_it_is_gone(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    job = client.shell("sleep 60", image=busybox, ranks=2, stopGracePeriod="1s")
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    client.delete(job["id"])
    wait_until(lambda: client.http.get(f"/batchJobs/{job['id']}").status_code == 404, 20, "the job is gone")
    platform.wait_at_rest()
    assert platform.query(f"SELECT 1 FROM log_chunks WHERE job_id = '{job['id']}'") == []


def test_jobs_of_more_ranks_than_slots_run_all_or_none(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    jobs = [client.shell("sleep 1", image=busybox, ranks=5) for _ in range(3)]
    most = 0

    def ended(job: dict[str, Any]) -> bool:
        nonlocal most
        most = max(most, platform.slots_in_use())
        return job["state"] in ENDED

    for job in jobs:
        done = client.wait_for(job["id"], ended, 60)
        assert done["state"] == "COMPLETED", done["status"]
    assert most <= 8
    placed = platform.query(
        "SELECT count(DISTINCT placed_at) FROM ranks WHERE job_id IN ('{}') GROUP BY job_id".format(
            "', '".join(job["id"] for job in jobs)
        )
    )
    assert placed == [(1,)] * 3, "a gang's ranks get their room in one transaction"


def test_single_rank_jobs_cannot_reach_each_other(client: ApiClient, platform: Platform, busybox: str) -> None:
    server = client.shell("echo ready; nc -l -p 4000", image=busybox, stopGracePeriod="1s")
    client.wait_for(server["id"], lambda _: client.lines(server["id"]) == ["ready"])
    container = platform.engine.containers.get(f"ls-{server['id']}-1-0")
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    address = next(iter(networks))["IPAddress"]
    # What it says on stderr may come before or after: the two streams have no order.
    command = f"nc -w 2 {address} 4000 </dev/null 2>/dev/null && echo reached || echo cut"
    probe = client.shell(command, image=busybox)
    assert client.wait_end(probe["id"])["state"] == "COMPLETED"
    assert client.lines(probe["id"])[-1] == "cut"
    client.cancel(server["id"])


@pytest.mark.parametrize("body", [{"imageRef": "longshore-test/busybox:1"}])
def test_job_without_executor_runs_the_images_own_command(client: ApiClient, body: dict[str, str]) -> None:
    job = client.create(**body)
    done = client.wait_end(job["id"])
    assert done["state"] == "FAILED"
    assert "No command specified" in done["status"]


def test_shell_in_an_image_without_a_shell_fails_saying_so(client: ApiClient, platform: Platform) -> None:
    job = client.shell("true", image="longshore-test/bare:1")
    done = client.wait_end(job["id"])
    assert done["state"] == "FAILED"
    assert done["status"] == "the job failed on node local: exit code 127: the image has no /bin/sh"
    platform.wait_at_rest()


def test_output_is_there_within_a_second_of_being_printed(client: ApiClient, busybox: str) -> None:
    job = client.shell(
        "sleep 1; while :; do date +%s.%N 2>/dev/null || date +%s; sleep 0.2; done",
        image=busybox,
        stopGracePeriod="1s",
    )
    client.wait_for(job["id"], lambda _: len(client.lines(job["id"])) >= 3)
    newest = client.http.get(f"/batchJobs/{job['id']}:getLogs", params={"pageSize": 1}).json()["entries"][0]
    age = time.time() - _seconds(newest["logTime"])
    client.cancel(job["id"])
    assert age < 1


def test_output_of_any_bytes_is_stored_to_the_last(client: ApiClient, platform: Platform, busybox: str) -> None:
    """1 MiB of every byte value, lines of over 16 KiB among them, and a last line without its newline."""
    script = (
        "i=0; while [ $i -lt 200 ]; do head -c 5000 /dev/urandom | tr '\\n' x; echo; i=$((i+1)); done >/tmp/a;"
        " head -c 100000 /dev/urandom | tr '\\n' y >>/tmp/a; sha256sum </tmp/a; cat /tmp/a"
    )
    job = client.shell(script, image=busybox)
    assert client.wait_end(job["id"])["state"] == "COMPLETED"
    stored = b"".join(_stored(platform, job["id"]))
    said, _, rest = stored.partition(b"\n")
    # The engine ends every last line with a newline of its own (Docker's json-file log).
    assert hashlib.sha256(rest.removesuffix(b"\n")).hexdigest() == said.split()[0].decode()
    assert platform.query(f"SELECT log_bytes FROM ranks WHERE job_id = '{job['id']}'") == [(len(stored),)]


def test_containers_are_hardened_as_inspected(client: ApiClient, platform: Platform, busybox: str) -> None:
    job = client.shell("sleep 60", image=busybox, ranks=2, stopGracePeriod="1s")
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    for rank in range(2):
        found = platform.engine.containers.get(f"ls-{job['id']}-1-{rank}").attrs
        host = found["HostConfig"]
        assert (host["Privileged"], host["Binds"], found["Mounts"]) == (False, None, [])
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["NanoCpus"] > 0
        assert host["Init"] is True
        assert host["RestartPolicy"]["Name"] == "no"
        assert not host["PortBindings"]
        assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    client.cancel(job["id"])
    client.wait_end(job["id"])


def test_out_of_memory_is_recorded_as_such(client: ApiClient, busybox: str) -> None:
    """A shell that doubles a string until the pool's limit; the engine says that it was memory."""
    job = client.shell("x=a; while :; do x=$x$x; done", image=busybox)
    done = client.wait_end(job["id"], 90)
    assert done["state"] == "FAILED"
    assert done["reason"] == "OUT_OF_MEMORY", done["status"]
    assert "out of memory" in done["status"]


def test_container_removed_by_somebody_is_a_lost_rank(client: ApiClient, platform: Platform, busybox: str) -> None:
    job = client.shell("sleep 60", image=busybox)
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    platform.engine.containers.get(f"ls-{job['id']}-1-0").remove(force=True)
    done = client.wait_end(job["id"], 20)
    assert (done["state"], done["reason"]) == ("FAILED", "CONTAINER_VANISHED")
    platform.wait_at_rest()


def _stored(platform: Platform, job_id: str) -> list[bytes]:
    from core.log_records import decode_records

    rows = platform.query(f"SELECT payload FROM log_chunks WHERE job_id = '{job_id}' ORDER BY rank, seq")
    return [record.data for (payload,) in rows for record in decode_records(payload)]


def _seconds(stamp: str) -> float:
    from worker.docker_engine.facts import split_time

    seconds, nanos = split_time(stamp)
    return seconds + nanos / 1e9
