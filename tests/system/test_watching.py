"""The whole platform as Prometheus sees it while a job runs, and one job's way through three processes' logs."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.api_client import ApiClient
from tests.lab.platform import Platform, wait_until
from tests.system.conftest import SUPERVISOR_METRICS, WORKER_METRICS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(url: str, key: str = "") -> Samples:
    answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all samples of the name that have these labels."""
    return sum(
        value for (each, has), value in samples.items() if each == name and frozenset(labels.items()) <= has
    )


def test_three_processes_tell_of_a_job_that_runs_and_of_its_end(
    platform: Platform, client: ApiClient, busybox: str
) -> None:
    operator = platform.new_account("operator", "root@operator.test", is_operator=True)
    key = operator.http.headers["Authorization"].removeprefix("Bearer ")
    operator.close()
    ended = {"state": "COMPLETED", "reason": ""}
    before = scrape(platform.url, key)
    # The platform is other tests' too, and some of them have their containers refused.
    worker_before = scrape(WORKER_METRICS)
    captured = total(scrape(SUPERVISOR_METRICS), "longshore_log_captured_bytes_total")
    job = client.shell("echo seen by all; while [ ! -e /tmp/end ]; do sleep 0.1; done", image=busybox, ranks=2)
    client.wait_for(job["id"], lambda found: found["state"] == "RUNNING")

    def is_seen() -> bool:
        now = scrape(platform.url, key)
        held = total(now, "longshore_node_slots_held", pool="acme/default", phase="running")
        return total(now, "longshore_jobs", state="RUNNING") >= 1 and held >= 2

    wait_until(is_seen, 30, "the API tells of the job", every=0.5)
    wait_until(
        lambda: total(scrape(SUPERVISOR_METRICS), "longshore_log_captured_bytes_total") >= captured + 24,
        30,
        "the supervisor tells of its output",
        every=0.5,
    )
    supervisor = scrape(SUPERVISOR_METRICS)
    assert total(supervisor, "longshore_supervisor_nodes_held") == 1
    assert total(supervisor, "longshore_supervisor_ranks_watched") >= 2
    assert total(supervisor, "longshore_engine_seconds_count", call="list") >= 1
    worker = scrape(WORKER_METRICS)
    for step in ("longshore.schedule", "longshore.sweep"):
        assert total(worker, "longshore_step_seconds_count", step=step, outcome="done") >= 1
    for call in ("create", "start"):
        calls = "longshore_engine_call_seconds_count"
        assert total(worker, calls, call=call) >= total(worker_before, calls, call=call) + 2
        errors = "longshore_engine_errors_total"
        assert total(worker, errors, call=call) == total(worker_before, errors, call=call)

    for container in platform.containers_of(job["id"]):
        assert container.exec_run(["touch", "/tmp/end"]).exit_code == 0
    assert client.wait_end(job["id"])["state"] == "COMPLETED"
    wait_until(
        lambda: (
            total(scrape(platform.url, key), "longshore_jobs_ended_total", **ended)
            >= total(before, "longshore_jobs_ended_total", **ended) + 1
        ),
        30,
        "its end is counted",
        every=0.5,
    )
    after = scrape(platform.url, key)
    for name in ("longshore_scheduling_seconds_count", "longshore_dispatch_seconds_count"):
        assert total(after, name) >= total(before, name) + 1
    for samples in (after, scrape(WORKER_METRICS), scrape(SUPERVISOR_METRICS)):
        assert not any(job["id"] in value for _, labels in samples for _, value in labels)


def test_request_id_leads_to_the_job_and_the_job_to_its_containers(
    platform: Platform, client: ApiClient, busybox: str
) -> None:
    body = {"nodePoolId": "default", "imageRef": busybox, "shellExecutor": {"command": "true"}}
    answer = client.http.post("/batchJobs", json=body, headers={"X-Request-Id": "trace-of-a-job"})
    assert answer.headers["X-Request-Id"] == "trace-of-a-job"
    job_id = answer.json()["name"].rpartition("/")[2]
    client.wait_end(job_id)

    def line(process: str, *words: str) -> bool:
        return any(all(word in each for word in words) for each in platform.log(process).splitlines())

    row = platform.query(f"SELECT id FROM jobs WHERE batch_job_id = '{job_id}'")[0][0]
    assert line("api", "job_submitted", "request_id='trace-of-a-job'", f"job='{row}'")
    wait_until(lambda: line("worker", f"job='{row}'"), 10, "the worker names the job")
    wait_until(lambda: line("supervisor", "rank_exited", f"job='{row}'"), 10, "the supervisor names the job")
