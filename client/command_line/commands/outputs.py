"""`longshore outputs` and `cp`: the files that ranks left."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from client.calls.job_files import mebibytes
from client.calls.job_verbs import Job
from client.command_line.exits import INCOMPLETE, OK
from client.command_line.saving import save
from client.command_line.screen import Screen
from client.command_line.session import JobId, Json, Session, session_of
from client.command_line.spans import clock
from client.command_line.status_line import StatusLine
from client.errors import LongshoreError
from client.reads.outputs import OutputFile, RankOutputs

Attempt = Annotated[int | None, typer.Option("--attempt", min=1, help="Not the latest, but this.")]
_SOURCE = re.compile(r"(?P<job>[^:]+)(:(?P<rank>\d+)(/(?P<path>.+))?)?", re.ASCII | re.DOTALL)
_PROGRAM = 0o111


def outputs(
    context: typer.Context,
    job_id: JobId,
    rank: Annotated[int | None, typer.Option("--rank", "-r", min=0, help="Of this rank only.")] = None,
    attempt: Attempt = None,
    as_json: Json = False,
) -> int:
    """List the files that a job's ranks left in $LONGSHORE_OUTPUT_DIR."""
    session = session_of(context, as_json)
    found = list(_left(session.longshore.job(job_id), rank, attempt))
    _tell_missing(session.screen, found)
    files = [file for each in found for file in each.files]
    return session.screen.listed(files, ("RANK", "SIZE", "WRITTEN", "PATH"), _row, folds=True)


@dataclass(frozen=True)
class _Source:
    """What is to be copied: of all ranks, or of one, all of it, or a file or folder."""

    job: str
    rank: int | None
    path: str

    @classmethod
    def of(cls, text: str) -> _Source:
        found = _SOURCE.fullmatch(text)
        if found is None:
            raise typer.BadParameter(f"{text}: a source is JOB, JOB:RANK or JOB:RANK/PATH")
        return cls(found["job"], None if found["rank"] is None else int(found["rank"]), found["path"] or "")


@dataclass(frozen=True)
class _Copy:
    """One file, and where below the destination it goes."""

    file: OutputFile
    below: Path
    path: str


def cp(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="JOB[:RANK[/PATH]]", help="A job, a rank, a file or folder.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A folder, or a file; - for stdout.")],
    attempt: Attempt = None,
    as_json: Json = False,
) -> int:
    """Download the files that ranks left: of all into DEST/RANK/…, of one into DEST/…, or one file.

    Exits with 74 where what is kept is not all that they left.
    """
    session = session_of(context, as_json)
    asked = _Source.of(source)
    job = session.longshore.job(asked.job)
    # What is listed and what is downloaded are of one attempt, whatever comes meanwhile.
    attempt = attempt or job.attempt or None
    found = list(_left(job, asked.rank, attempt))
    if destination == "-":
        return _to_stdout(job, _one_file(asked, found), attempt)
    is_whole = not _tell_missing(session.screen, found)
    copies = _copies(asked, found, destination)
    _save(session, job, copies, attempt, destination)
    is_one_file = [each.file.path for each in copies] == [asked.path]
    return OK if is_whole or is_one_file else INCOMPLETE


def _left(job: Job, rank: int | None, attempt: int | None) -> Iterable[RankOutputs]:
    return job.outputs(attempt) if rank is None else [job.rank_outputs(rank, attempt)]


def _one_file(asked: _Source, found: list[RankOutputs]) -> OutputFile:
    named = [file for each in found for file in each.files if file.path == asked.path]
    if asked.rank is None or not asked.path:
        raise typer.BadParameter("stdout takes one file: JOB:RANK/PATH")
    if not named:
        raise _nothing(asked)
    return named[0]


def _copies(asked: _Source, found: list[RankOutputs], destination: str) -> list[_Copy]:
    """What goes where. Raises LongshoreError where there is nothing."""
    to = Path(destination)
    files = [file for each in found for file in each.files]
    if asked.rank is None:
        copies = [_Copy(file, to, f"{file.rank}/{file.path}") for file in files]
    elif not asked.path:
        copies = [_Copy(file, to, file.path) for file in files]
    elif named := [file for file in files if file.path == asked.path]:
        into_folder = to.is_dir() or destination.endswith("/")
        name = asked.path.rpartition("/")[2]
        copies = [_Copy(named[0], to, name) if into_folder else _Copy(named[0], to.parent, to.name)]
    else:
        folder = asked.path.rstrip("/") + "/"
        copies = [
            _Copy(file, to, file.path.removeprefix(folder)) for file in files if file.path.startswith(folder)
        ]
    if not copies:
        raise _nothing(asked)
    return copies


def _save(session: Session, job: Job, copies: list[_Copy], attempt: int | None, destination: str) -> None:
    screen = session.screen
    progress = _Progress(screen, copies)
    saved = []
    try:
        for each in copies:
            pieces = progress.counted(job.download(each.file.rank, each.file.path, attempt))
            is_program = bool(int(each.file.mode or "0", 8) & _PROGRAM)
            path = save(each.below, each.path, pieces, size=each.file.size_bytes, is_program=is_program)
            saved.append(
                {
                    "rank": each.file.rank,
                    "path": each.file.path,
                    "file": str(path),
                    "sizeBytes": each.file.size_bytes,
                }
            )
    finally:
        progress.stop()
    if screen.as_json:
        screen.json(saved)
        return
    count = f"{len(saved)} files" if len(saved) != 1 else "1 file"
    screen.say(f"{count}, {mebibytes(progress.came)}, to {destination}")


def _to_stdout(job: Job, file: OutputFile, attempt: int | None) -> int:
    for piece in job.download(file.rank, file.path, attempt):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return OK


class _Progress:
    """How far it has come, on a terminal; elsewhere nothing is told before the end."""

    def __init__(self, screen: Screen, copies: list[_Copy]) -> None:
        self._line = StatusLine(screen) if screen.is_live else None
        self._total = mebibytes(sum(each.file.size_bytes for each in copies))
        self._files, self._of_files = 0, len(copies)
        self.came = 0

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of the next file."""
        self._files += 1
        for piece in pieces:
            self.came += len(piece)
            if self._line is not None:
                done = f"file {self._files} of {self._of_files}, {mebibytes(self.came)} of {self._total}"
                self._line.show("copying", "", done)
            yield piece

    def stop(self) -> None:
        if self._line is not None:
            self._line.stop()


def _tell_missing(screen: Screen, found: list[RankOutputs]) -> bool:
    """Say what is not there of what ranks left, and why; whether there was something to say."""
    lacking = [each for each in found if each.remove_time is not None or each.error]
    for each in lacking:
        if each.remove_time is not None:
            screen.say(f"rank {each.rank}: removed on {each.remove_time:%Y-%m-%d}: {each.remove_reason}", "yellow")
        else:
            screen.say(f"rank {each.rank}: {each.error}", "yellow")
    return bool(lacking)


def _nothing(asked: _Source) -> LongshoreError:
    what = f"{asked.path!r}" if asked.path else "files"
    who = f"rank {asked.rank}" if asked.rank is not None else "no rank"
    has = "has left no" if asked.rank is not None else "has left"
    return LongshoreError(f"{who} {has} {what}, or not yet: longshore outputs {asked.job} lists what there is")


def _row(file: OutputFile) -> tuple[str, ...]:
    return str(file.rank), mebibytes(file.size_bytes), clock(file.modify_time), file.path
