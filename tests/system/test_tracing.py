"""What is done for a job, by whichever process, is one trace. A collector of this test's own gets the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from core.tracing import first_span
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers


@dataclass(frozen=True)
class Told:
    """One span and the process that told it."""

    process: str
    span: Span

    @property
    def about(self) -> dict[str, str]:
        return {each.key: each.value.string_value for each in self.span.attributes}


@dataclass
class Collector:
    url: str = ""
    spans: list[Told] = field(default_factory=list)

    def of_job(self, job_id: str) -> list[Told]:
        trace_id = first_span(job_id).trace_id.to_bytes(16)
        return [each for each in self.spans if each.span.trace_id == trace_id]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {each.key: each.value.string_value for each in group.resource.attributes}
                    made.spans.extend(
                        Told(named["service.name"], span) for scope in group.scope_spans for span in scope.spans
                    )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def traced(servers: Servers, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    started = Platform(servers, tmp_path_factory.mktemp("traced"), variables=lambda name, _: variables)
    yield started
    started.stop()


def test_everything_done_for_a_job_is_one_trace(traced: Platform, collector: Collector) -> None:
    client = traced.client
    job, other = (client.shell("echo here", image=BUSYBOX, ranks=ranks) for ranks in (2, 1))
    keys = []
    for each in (job, other):
        assert client.wait_end(each["id"])["state"] == "COMPLETED"
        keys.append(str(traced.query(f"SELECT id FROM jobs WHERE batch_job_id = '{each['id']}'")[0][0]))
    for key, ranks in zip(keys, (2, 1), strict=True):
        wait_until(lambda: ends(collector, key) == ranks, 20, "the ends of all ranks are told")  # noqa: B023
    found = collector.of_job(keys[0])
    names = [each.span.name for each in found]
    assert {each.process for each in found} == {"longshore-api", "longshore-worker", "longshore-supervisor"}
    assert {"submit", "longshore.schedule", "longshore.launch", "rank end"} <= set(names)
    # Also those calls that a step makes side by side, in threads of their own.
    assert sum(name.startswith("engine: create") for name in names) >= 2, names
    (first,) = [each for each in found if not each.span.parent_span_id]
    assert first.span.name == "submit"
    ids = {each.span.span_id for each in found}
    assert all(each.span.parent_span_id in ids for each in found if each is not first)
    assert not ids & {each.span.span_id for each in collector.of_job(keys[1])}


def test_trace_of_a_job_leads_to_the_request_that_asked_for_it(traced: Platform, collector: Collector) -> None:
    client = traced.client
    callers = "0af7651916cd43dd8448eb211c80319c"
    answer = client.http.post(
        "/batchJobs",
        json={"nodePoolId": "default", "imageRef": BUSYBOX, "shellExecutor": {"command": "true"}},
        headers={"traceparent": f"00-{callers}-b7ad6b7169203331-01"},
    )
    job_id = answer.json()["name"].rpartition("/")[2]
    client.wait_end(job_id)
    key = str(traced.query(f"SELECT id FROM jobs WHERE batch_job_id = '{job_id}'")[0][0])

    def request() -> list[Told]:
        return [each for each in collector.spans if each.span.trace_id.hex() == callers]

    wait_until(lambda: bool(request() and collector.of_job(key)), 20, "both are told")
    (asked,) = request()
    assert asked.about["longshore.job"] == key
    (first,) = [each for each in collector.of_job(key) if not each.span.parent_span_id]
    assert [link.span_id for link in first.span.links] == [asked.span.span_id]


def ends(collector: Collector, key: str) -> int:
    return sum(each.span.name == "rank end" for each in collector.of_job(key))
