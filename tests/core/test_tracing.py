"""Tracing that nobody asked for, or whose packages are missing, stands in nobody's way."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import trace

from core.tracing import call_span, configure_tracing, first_span, job_span, note_submitted, now_ns, tell


def test_tracing_is_off_without_an_endpoint_and_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    before = trace.get_tracer_provider()
    configure_tracing("api")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    configure_tracing("api")
    assert trace.get_tracer_provider() is before
    note_submitted("key", now_ns())
    with job_span("step", "key", attempt=1) as span, call_span("call", engine="e"):
        tell(outcome="done")
        assert not span.is_recording()


def test_ids_of_a_trace_follow_from_the_key_alone() -> None:
    one, again, other = first_span("one"), first_span("one"), first_span("other")
    assert one == again and one.is_valid
    assert one.trace_id != other.trace_id and one.span_id != other.span_id
