"""What a worker measures: an engine's calls at both of its doors, what is no fault, and the listener."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from prometheus_client import REGISTRY

from core.errors import ContainerGone, NodeUnreachable
from deploy.embedded.places import free_port
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import DockerStreams
from worker.measures import engine_call, serve_measures


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_call_that_reaches_no_engine_is_counted_at_both_doors() -> None:
    plain = "unix:///nowhere/docker.sock"
    with pytest.raises(NodeUnreachable):
        DockerSteps(plain, timeout_seconds=2)
    assert _value("longshore_engine_errors_total", engine=plain, call="connect", reason="NODE_UNREACHABLE") == 1
    assert _value("longshore_engine_seconds_count", engine=plain, call="connect") == 1

    async def ask() -> None:
        streams = DockerStreams(plain, "i", timeout_seconds=2)
        try:
            with pytest.raises(NodeUnreachable):
                await streams.version()
        finally:
            await streams.close()

    asyncio.run(ask())
    assert _value("longshore_engine_errors_total", engine=plain, call="version", reason="NODE_UNREACHABLE") == 1


def test_end_that_came_before_a_question_is_no_fault() -> None:
    with pytest.raises(ContainerGone), engine_call("unix:///x", "logs"):
        raise ContainerGone("it has gone")
    assert _value("longshore_engine_errors_total", engine="unix:///x", call="logs", reason="CONTAINER_GONE") == 0
    assert _value("longshore_engine_seconds_count", engine="unix:///x", call="logs") == 1


def test_stream_is_timed_until_it_begins_and_once() -> None:
    with engine_call("unix:///y", "events") as timer:
        timer.note()
        before = _value("longshore_engine_seconds_sum", engine="unix:///y", call="events")
        timer.note()
    assert _value("longshore_engine_seconds_count", engine="unix:///y", call="events") == 1
    assert _value("longshore_engine_seconds_sum", engine="unix:///y", call="events") == before


def test_listener_answers_and_a_port_that_is_taken_stops_nothing() -> None:
    port = free_port()
    serve_measures("127.0.0.1", port)
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200 and "longshore_step_seconds" in answer.text
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        serve_measures("127.0.0.1", taken.getsockname()[1])
    serve_measures("127.0.0.1", 0)
