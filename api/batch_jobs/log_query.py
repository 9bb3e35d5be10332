"""What of a job's output a call asks for: the parameters that all calls of output share, and their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.wire import query as wire_query
from api.wire.query import Parameter, plain_text
from core.errors import InvalidArgument
from core.jobs.reading import JobRecord
from core.log_filter import MAX_REGEX_CHARACTERS, LineRegex, LogFilter
from core.log_records import STDERR, STDOUT

#: As requests and answers call them. What the platform itself says in a log has the empty name.
STREAM_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_STREAMS = {name: stream for stream, name in STREAM_NAMES.items()}
_MAX_NS = 2**63 - 1


def _read_stream(values: list[str]) -> int | None:
    name = wire_query.single(values)
    if name and name not in _STREAMS:
        raise ValueError("must be stdout or stderr; leave it out for both")
    return _STREAMS.get(name)


def _read_regex(values: list[str]) -> LineRegex | None:
    expression = plain_text(values)
    return LineRegex(expression) if expression else None


#: `repr` of what is read is the same for the same question, which is what page tokens are bound to.
CHOICE: Mapping[str, Parameter] = {
    "ranks": wire_query.NUMBERS,
    "stream": Parameter(_read_stream, None, {"type": "string", "enum": list(_STREAMS)}),
    "filter": wire_query.TEXT,
    "regex": Parameter(_read_regex, None, {"type": "string", "maxLength": MAX_REGEX_CHARACTERS}),
}


def asked_ranks(query: Mapping[str, Any], record: JobRecord) -> tuple[int, ...] | None:
    """The ranks that are asked for, None for all. Raises InvalidArgument where the job has not so many."""
    ranks: tuple[int, ...] | None = query["ranks"]
    if ranks is not None and ranks[-1] >= record.spec.num_ranks:
        raise InvalidArgument.field("ranks", f"the job's ranks are 0 to {record.spec.num_ranks - 1}")
    return ranks


def asked_filter(query: Mapping[str, Any]) -> LogFilter:
    """Which entries of these ranks."""
    return LogFilter(query["stream"], query["filter"].encode(), query["regex"])


def asked_since_ns(query: Mapping[str, Any]) -> int:
    """Nothing older than this."""
    since_ns: int = query["startTime"]
    return min(max(since_ns, 0), _MAX_NS)
