"""Making and finding jobs. What can be done with one of them is in `job_verbs`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, Unpack

from client.calls.asking import Asking, segment
from client.calls.job_body import JobArguments, job_body
from client.calls.job_verbs import JobVerbs
from client.errors import NotSendable
from client.exchange.effects import Flow, Request, Stream
from client.exchange.verbs import feed, verb
from client.reads.jobs import BatchJob

J = TypeVar("J", bound=JobVerbs[Any])
IDEMPOTENCY_KEY = "Idempotency-Key"
_VISIBLE = re.compile(r"[\x21-\x7e]{0,255}", re.ASCII)


class JobCalls(Asking, Generic[J]):
    """Verbs of an account. `J` is the kind of job that they answer."""

    account: str
    _job_class: type[J]

    @verb
    def submit(self, job_id: str = "", *, idempotency_key: str = "", **arguments: Unpack[JobArguments]) -> Flow[J]:
        """A new job, of an id of your choice or the platform's. Raises Refused, NotSendable.

        However often it is sent over a bad connection, it is one job: each submission has its own key. One that is
        given a key is the same submission wherever it comes from again.
        """
        return (yield from self._made("/batchJobs", job_body(arguments), job_id, idempotency_key))

    @verb
    def submit_body(self, body: Mapping[str, Any], job_id: str = "", *, idempotency_key: str = "") -> Flow[J]:
        """The same, of a body as the wire has it."""
        return (yield from self._made("/batchJobs", body, job_id, idempotency_key))

    @verb
    def check_body(self, body: Mapping[str, Any]) -> Flow[BatchJob]:
        """What would become of such a job now, by its `status` and `reason`; nothing is stored."""
        return (yield from self.read(Request("POST", "/batchJobs", {"validateOnly": True}, body), BatchJob))

    @verb
    def check(self, **arguments: Unpack[JobArguments]) -> Flow[BatchJob]:
        """The same, of a submission's arguments."""
        request = Request("POST", "/batchJobs", {"validateOnly": True}, job_body(arguments))
        return (yield from self.read(request, BatchJob))

    @verb
    def clone(
        self, source_id: str, job_id: str = "", *, idempotency_key: str = "", **arguments: Unpack[JobArguments]
    ) -> Flow[J]:
        """A new job with the fields and files of another, but for what the arguments say."""
        path = f"/batchJobs/{segment(last_part(source_id))}:clone"
        return (yield from self._made(path, job_body(arguments), job_id, idempotency_key))

    @verb
    def clone_body(self, source_id: str, changes: Mapping[str, Any], job_id: str = "") -> Flow[J]:
        """The same, of a body as the wire has it."""
        return (yield from self._made(f"/batchJobs/{segment(last_part(source_id))}:clone", changes, job_id, ""))

    @verb
    def job(self, job_id: str) -> Flow[J]:
        """A job, by its id or its whole name. Raises NotFound."""
        path = f"/batchJobs/{segment(last_part(job_id))}"
        return self._job_class.made((yield from self.ask(Request("GET", path))), self)

    @feed
    def jobs(self, filter: str = "", *, order_by: str = "", limit: int | None = None) -> Stream[J]:
        """The account's jobs, newest first where no other order is asked for. `filter` is AIP-160."""
        query = {"filter": filter, "orderBy": order_by}
        yield from self.each(
            "/batchJobs", "batchJobs", lambda fields: self._job_class.made(fields, self), query, limit
        )

    @verb
    def delete_jobs(self, job_ids: Iterable[str]) -> Flow[None]:
        """Delete several jobs, or none where one cannot be."""
        names = [f"accounts/{self.account}/batchJobs/{last_part(each)}" for each in job_ids]
        yield from self.do("POST", "/batchJobs:batchDelete", {"names": names})

    def _made(self, path: str, body: Mapping[str, Any], job_id: str, key: str) -> Flow[J]:
        if _VISIBLE.fullmatch(key) is None:
            raise NotSendable("an idempotency key is of at most 255 visible ASCII characters")
        headers = {IDEMPOTENCY_KEY: key or secrets.token_urlsafe(24)}
        request = Request("POST", path, {"batchJobId": job_id}, body, headers)
        return self._job_class.made((yield from self.ask(request)), self)


def last_part(name: str) -> str:
    """An id, of an id or of a whole resource name."""
    return name.rpartition("/")[2]
