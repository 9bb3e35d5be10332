"""Traces, for OpenTelemetry: everything that is done for one job is one trace. Off unless a collector is named.

Nothing is handed on for it. The ids of a job's trace and of its first span follow from the job's key, so each
process knows by itself where its span belongs, whether a ring or a sweep brought it there. What records is the
SDK, of the extra `tracing`; without it, or without `OTEL_EXPORTER_OTLP_ENDPOINT`, spans are the API's own, which
record nothing.
"""

from __future__ import annotations

import contextvars
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags

log = structlog.get_logger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: A process that ends hands over its last spans first, and a collector that is away must not keep it for long.
_PATIENCE_SECONDS: Final = 3.0
_JOB: Final = "longshore.job"
#: Whose first span is being made: its ids are not drawn but given.
_first_of: contextvars.ContextVar[SpanContext | None] = contextvars.ContextVar("first_of", default=None)

_tracer = trace.get_tracer("longshore")


def configure_tracing(process: str) -> None:
    """Send this process's spans where OpenTelemetry's own variables say."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError as error:
        log.error("tracing_not_installed", why=str(error))
        return

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            first = _first_of.get()
            return first.trace_id if first else super().generate_trace_id()

        def generate_span_id(self) -> int:
            first = _first_of.get()
            return first.span_id if first else super().generate_span_id()

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"longshore-{process}"}), id_generator=Ids()
    )
    timeout = float(os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") or _PATIENCE_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout)))
    trace.set_tracer_provider(provider)


def first_span(job_id: str) -> SpanContext:
    """The span that all others of the job's trace are within."""
    digest = hashlib.sha256(f"longshore job {job_id}".encode()).digest()
    # An id of zeros is none (W3C Trace Context); that a digest begins so will not be seen.
    return SpanContext(
        trace_id=int.from_bytes(digest[:16]),
        span_id=int.from_bytes(digest[16:24]),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def note_submitted(job_id: str, begun_ns: int) -> None:
    """The first span of a new job, from then to now, linked with the request, whose trace is the caller's."""
    asked = trace.get_current_span()
    asked.set_attribute(_JOB, job_id)
    context = asked.get_span_context()
    links = [Link(context)] if context.is_valid else []
    token = _first_of.set(first_span(job_id))
    try:
        span = _tracer.start_span(
            "submit", context=Context(), links=links, start_time=begun_ns, attributes={_JOB: job_id}
        )
    finally:
        _first_of.reset(token)
    span.end()


def note_step(name: str, job_id: str, begun_ns: int) -> None:
    """A span of the job's trace, from then to now (ns since 1970)."""
    _tracer.start_span(name, context=_within(job_id), start_time=begun_ns, attributes={_JOB: job_id}).end()


@contextmanager
def job_span(name: str, job_id: str, **attributes: str | int) -> Iterator[Span]:
    """A span of the job's trace around what is done; what it calls is within it."""
    attributes = {_JOB: job_id, **{f"longshore.{key}": value for key, value in attributes.items()}}
    with _tracer.start_as_current_span(name, context=_within(job_id), attributes=attributes) as span:
        yield span


@contextmanager
def call_span(name: str, **attributes: str | int) -> Iterator[None]:
    """A span within the current one; none where there is no current one that is recorded."""
    if not trace.get_current_span().is_recording():
        yield
        return
    told = {f"longshore.{key}": value for key, value in attributes.items()}
    with _tracer.start_as_current_span(name, attributes=told):
        yield


def tell(**attributes: str | int) -> None:
    """Of the current span, if there is one."""
    trace.get_current_span().set_attributes({f"longshore.{key}": value for key, value in attributes.items()})


def now_ns() -> int:
    """As `note_submitted` and `note_step` take it."""
    return time.time_ns()


def _within(job_id: str) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(first_span(job_id)), Context())
