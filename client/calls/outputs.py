"""What the ranks of a job left in their folders for outputs: listed, and downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.calls.asking import Asking, segment
from client.exchange.downloads import each_piece
from client.exchange.effects import Flow, Request, Stream, Tell
from client.exchange.verbs import feed, verb
from client.reads.outputs import RankOutputs


class OutputVerbs(Asking):
    """Verbs of a job, by what it is called below its account."""

    num_ranks: int

    @property
    def _path(self) -> str:
        raise NotImplementedError

    @verb
    def rank_outputs(self, rank: int, attempt: int | None = None) -> Flow[RankOutputs]:
        """What one rank left, with all its files. Of the latest attempt, unless another is asked for."""
        return (yield from self._outputs_of(rank, attempt))

    @feed
    def outputs(self, attempt: int | None = None) -> Stream[RankOutputs]:
        """What each rank left, those that left nothing too. Likewise."""
        for rank in range(self.num_ranks):
            yield Tell((yield from self._outputs_of(rank, attempt)))

    @feed
    def download(self, rank: int, path: str, attempt: int | None = None) -> Stream[bytes]:
        """A file that a rank left, piece by piece.

        Raises NoConnection where it is broken off: what has come of it is not whole then.
        """
        below = "/".join(segment(part) for part in path.split("/"))
        request = Request("GET", f"{self._path}/ranks/{rank}/outputs/{below}", {"attempt": attempt})
        yield from each_piece(request, self.patience())

    def _outputs_of(self, rank: int, attempt: int | None) -> Flow[RankOutputs]:
        files: list[Mapping[str, Any]] = []
        query: dict[str, str | int | bool | None] = {"attempt": attempt, "pageSize": 200}
        while True:
            page = yield from self.ask(Request("GET", f"{self._path}/ranks/{rank}/outputs", query))
            files += ({**each, "rank": rank} for each in page.get("outputs") or ())
            query["pageToken"] = page.get("nextPageToken") or ""
            if not query["pageToken"]:
                return RankOutputs.of({**(page.get("summary") or {}), "rank": rank, "files": files})
