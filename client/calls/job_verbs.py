"""What can be done with one job, by its id. `Job` and `AsyncJob` are a job as it was read, with these verbs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, Self, TypeVar, cast

from client.calls.asking import segment
from client.calls.outputs import OutputVerbs
from client.errors import NotFound, TimeIsUp
from client.exchange.effects import Flow, Pause, Request, Stream
from client.exchange.events import ServerEvent, each_event
from client.exchange.retrying import Patience, answered
from client.exchange.streams import each_made, found_in
from client.exchange.verbs import Blocking, Looped, feed, verb
from client.reads.jobs import BatchJob, Event, JobChange, LogEntry, Rank, RankUsage, first_to_fail
from client.reads.wire import values_of

#: The exit code of a job that was cancelled: a shell's for a program that SIGTERM ended.
CANCELLED: Final = 143
J = TypeVar("J", bound=BatchJob)
_MAIN = "MAIN_RANK_DECIDES"


class JobVerbs(BatchJob, OutputVerbs, Generic[J]):
    """Verbs that need the id only; what they find are new values of its kind, `J`, no changes of this one."""

    _client: Any

    @classmethod
    def made(cls, fields: Mapping[str, Any], client: Any) -> Self:
        """A job as it was answered, on the connection of `client`."""
        job = cls(**values_of(BatchJob, fields))
        # Frozen, and these are no fields.
        object.__setattr__(job, "_client", client)
        object.__setattr__(job, "_driver", client._driver)
        return job

    def patience(self) -> Patience:
        """That of the client, whatever it is by then."""
        patience: Patience = self._client.patience()
        return patience

    @property
    def _path(self) -> str:
        return f"/batchJobs/{segment(self.id)}"

    @verb
    def refresh(self) -> Flow[J]:
        """The job as it is now."""
        return self._as((yield from self.ask(Request("GET", self._path))))

    @verb
    def cancel(self) -> Flow[None]:
        """Stop its ranks; again is no error. Raises Invalid where it has ended otherwise."""
        yield from self.do("POST", f"{self._path}:cancel", {})

    @verb
    def delete(self) -> Flow[None]:
        """Remove it; a live one is stopped first."""
        yield from self.remove(self._path)

    @verb
    def update(self, *, display_name: str | None = None, shared: bool | None = None) -> Flow[J]:
        """Change what may change. The job as it is then."""
        given = {"displayName": display_name, "shared": shared}
        changes = {name: value for name, value in given.items() if value is not None}
        request = Request("PATCH", self._path, body=changes)
        return self._as((yield from self.ask(request)))

    @verb
    def wait(self, timeout_seconds: float | None = None) -> Flow[J]:
        """The job once it has ended. Raises TimeIsUp, NotFound where it is deleted meanwhile.

        Without a time limit the platform tells of the end; with one it is asked again, every second at last.
        """
        if timeout_seconds is None:
            watched = each_event(Request("GET", f"{self._path}:watch"), self.patience)
            return self._as((yield from found_in(watched, self._end_in)))
        ends_at = time.monotonic() + timeout_seconds
        delay = 0.1
        while True:
            left = max(ends_at - time.monotonic(), 0)
            patience = Patience(min(self.patience().seconds, left))
            job = self._as((yield from self.ask(Request("GET", self._path), patience)))
            left = ends_at - time.monotonic()
            if job.has_ended:
                return job
            if left <= 0:
                raise TimeIsUp(f"job {self.id} has not ended within {timeout_seconds:g} s; it goes on")
            yield Pause(min(delay, left))
            delay = min(delay * 1.5, 1.0)

    @feed
    def watch(self) -> Stream[JobChange]:
        """The job as it is, then every change of its state and status, until `end` or `deleted`."""
        events = each_event(Request("GET", f"{self._path}:watch"), self.patience)
        yield from each_made(events, lambda event: (_change(event),))

    @feed
    def follow(
        self,
        *,
        ranks: Iterable[int] | None = None,
        stream: str = "",
        filter: str = "",
        regex: str = "",
        after: str = "",
    ) -> Stream[LogEntry]:
        """Output from its beginning, or after the entry of an `event_id`, as it is printed, until the job ends.

        Goes on where it was after every break, without gap or repeat.
        """
        query = {"ranks": _numbers(ranks), "stream": stream, "filter": filter, "regex": regex}
        events = each_event(Request("GET", f"{self._path}:streamLogs", query), self.patience, after)
        yield from each_made(events, _entries)

    @feed
    def logs(
        self,
        *,
        ranks: Iterable[int] | None = None,
        stream: str = "",
        filter: str = "",
        regex: str = "",
        since: datetime | None = None,
        attempt: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Stream[LogEntry]:
        """What has been printed so far."""
        query = {
            "ranks": _numbers(ranks),
            "stream": stream,
            "filter": filter,
            "regex": regex,
            "startTime": None if since is None else since.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "attempt": attempt,
            "startFromHead": not newest_first,
            "pageSize": min(limit or 10_000, 10_000),
        }
        yield from self.each(f"{self._path}:getLogs", "entries", LogEntry.of, query, limit)

    @verb
    def ranks(self, attempt: int | None = None) -> Flow[list[Rank]]:
        """Every rank of the latest attempt, or of another."""
        return (yield from self._ranks(attempt))

    @verb
    def exit_code(self) -> Flow[int]:
        """The exit code that a job has as a whole: 0 completed, else that of the first rank that failed.

        1 where it failed and no rank has a code; 143 where it was cancelled. Raises TimeIsUp where it still runs.
        """
        job = BatchJob.of((yield from self.ask(Request("GET", self._path))))
        if not job.has_ended:
            raise TimeIsUp(f"job {self.id} has not ended: {job.state.lower()}")
        if job.state != "FAILED":
            return 0 if job.state == "COMPLETED" else CANCELLED
        first = first_to_fail((yield from self._ranks(job.attempt)), main=job.rank_failure_policy == _MAIN)
        return (first.exit_code if first is not None else None) or 1

    @feed
    def events(self) -> Stream[Event]:
        """Every move of the job and of its ranks, oldest first."""
        yield from self.each(f"{self._path}/events", "events", Event.of)

    @feed
    def usage(self, attempt: int | None = None) -> Stream[RankUsage]:
        """What each rank has used by its last sample."""
        yield from self.each(f"{self._path}:getUsage", "ranks", RankUsage.of, {"attempt": attempt})

    @verb
    def notebook(self, rank: int = 0, *, html: bool = False, attempt: int | None = None) -> Flow[bytes]:
        """The executed notebook of a rank as far as it has come, or the page of it."""
        query = {"format": "html" if html else "ipynb", "attempt": attempt}
        request = Request("GET", f"{self._path}/ranks/{rank}/notebook", query)
        return (yield from answered(request, self.patience())).content

    @verb
    def file(self, name: str) -> Flow[bytes]:
        """The content of a file that came with it."""
        path = "/".join(segment(part) for part in name.split("/"))
        return (yield from answered(Request("GET", f"{self._path}/files/{path}"), self.patience())).content

    def _ranks(self, attempt: int | None) -> Flow[list[Rank]]:
        ranks: list[Rank] = []
        listed = self.each(f"{self._path}/ranks", "ranks", Rank.of, {"attempt": attempt})
        yield from found_in(listed, ranks.append)
        return ranks

    def _as(self, fields: Mapping[str, Any]) -> J:
        """Another value of the same kind."""
        job: Any = self.made(fields, self._client)
        return cast(J, job)

    def _end_in(self, event: ServerEvent) -> Mapping[str, Any] | None:
        if event.name == "deleted":
            raise NotFound(f"job {self.id} was deleted before it had ended", status=404, code=5)
        ended: Mapping[str, Any] = event.data
        return ended if event.name == "end" else None


class Job(JobVerbs["Job"], Blocking):
    """A job as it was read, with verbs that wait for their answer."""


class AsyncJob(JobVerbs["AsyncJob"], Looped):
    """A job as it was read, with verbs that are awaited."""


def _numbers(ranks: Iterable[int] | None) -> str | None:
    return None if ranks is None else ",".join(map(str, ranks))


def _change(event: ServerEvent) -> JobChange:
    job = BatchJob.of(event.data) if event.name in ("job", "end") else None
    values = values_of(JobChange, event.data)
    if job is not None:
        values["time"] = job.update_time
    return JobChange(**{**values, "event": event.name, "job": job})


def _entries(event: ServerEvent) -> Iterable[LogEntry]:
    """Those of a `log` event; the last of them has the event's id."""
    entries = [LogEntry.of({**each, "attempt": event.data["attempt"]}) for each in event.data.get("entries") or ()]
    if entries:
        entries[-1] = replace(entries[-1], event_id=event.id)
    return entries
