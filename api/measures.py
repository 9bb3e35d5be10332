"""What a process of the API counts and times of itself."""

from __future__ import annotations

from prometheus_client import Gauge, Histogram

#: From an answer out of memory to one that waited for a lock.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)

REQUEST_SECONDS = Histogram(
    "longshore_http_request_seconds",
    "From a request to the first byte of its answer, by the route's template.",
    ["route", "method", "status"],
    buckets=_SECONDS,
)
STREAMS_OPEN = Gauge(
    "longshore_http_streams_open", "Event streams that are open now.", multiprocess_mode="livesum"
)
