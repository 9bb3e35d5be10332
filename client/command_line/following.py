"""A job from its submission to its end, on the terminal: what it waits for, what it prints, how it ended.

Two streams are read at once, of its changes and of its output; what comes is shown in the order in which it came,
by one reader. Nothing is lost to Ctrl-C, which is no exception here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from client.calls.job_verbs import AsyncJob
from client.command_line import exits
from client.command_line.interrupts import Interrupts, Wish
from client.command_line.log_lines import LogLines
from client.command_line.screen import Screen
from client.command_line.spans import lasted
from client.command_line.status_line import StatusLine, waiting_sentence
from client.errors import Invalid, NotFound
from client.reads.jobs import BatchJob, JobChange, LogEntry

#: States in which a job is waited for, and prints nothing.
_WAITING = frozenset({"CREATING", "QUEUED", "PENDING"})
_STYLES = {"COMPLETED": "green", "FAILED": "red", "CANCELLED": "yellow"}
#: So many entries may wait to be shown; the streams wait for the terminal, not the other way round.
_QUEUED = 1000


class Following:
    """One job, followed to its end or until the user detaches."""

    def __init__(self, screen: Screen, job: AsyncJob, ranks: Iterable[int] | None = None) -> None:
        self._screen = screen
        self._job = job
        self._ranks = None if ranks is None else sorted(set(ranks))
        self._lines = LogLines(screen, job.num_ranks if self._ranks is None else len(self._ranks))
        self._status = StatusLine(screen)
        self._came: asyncio.Queue[JobChange | LogEntry | Exception | None] = asyncio.Queue(_QUEUED)
        self._end: BatchJob | None = None
        self._cancelling = False
        self._ended_streams = 0

    async def exit_code(self) -> int:
        """The job's, or that of a user who detached. Raises what the streams raise."""
        interrupts = Interrupts(self._screen)
        readers = [
            asyncio.ensure_future(self._read(self._job.watch())),
            asyncio.ensure_future(self._read(self._job.follow(ranks=self._ranks))),
        ]
        interrupted = asyncio.ensure_future(interrupts.one())
        showing = asyncio.ensure_future(self._show(len(readers)))
        try:
            with interrupts.heard():
                while not showing.done():
                    await asyncio.wait({showing, interrupted}, return_when=asyncio.FIRST_COMPLETED)
                    if interrupted.done() and not showing.done():
                        # What comes meanwhile is shown after the question.
                        showing.cancel()
                        with suppress(asyncio.CancelledError):
                            await showing
                        if await self._detaches(interrupts):
                            return self._detached()
                        interrupted = asyncio.ensure_future(interrupts.one())
                        showing = asyncio.ensure_future(self._show(len(readers)))
                showing.result()
        finally:
            self._status.stop()
            for task in (*readers, interrupted, showing):
                task.cancel()
            await asyncio.gather(*readers, interrupted, showing, return_exceptions=True)
        return await self._ended()

    async def _read(self, stream: AsyncIterator[Any]) -> None:
        try:
            async for item in stream:
                await self._came.put(item)
        except Exception as error:  # noqa: BLE001  # raised where the queue is read
            await self._came.put(error)
        else:
            await self._came.put(None)

    async def _show(self, streams: int) -> None:
        """Show what comes until all streams are at their end. May be cancelled and begun again."""
        while self._ended_streams < streams:
            item = await self._came.get()
            match item:
                case None:
                    self._ended_streams += 1
                case LogEntry():
                    self._status.stop()
                    self._lines.write(item)
                case JobChange():
                    self._show_change(item)
                case _:
                    raise item

    def _show_change(self, change: JobChange) -> None:
        if self._screen.as_json:
            self._screen.json_line({"event": change.event, **change.fields})
        if change.event == "end":
            self._end = change.job
        elif change.state in _WAITING and not self._screen.as_json:
            sentence = waiting_sentence(change.status, change.queue_position, change.estimated_start_time)
            self._status.show(change.state, change.reason, sentence)
        else:
            self._status.stop()

    async def _detaches(self, interrupts: Interrupts) -> bool:
        """Ask, and do what is wished; whether that was to detach."""
        self._status.stop()
        wish = Wish.DETACH if self._cancelling else await interrupts.ask()
        if wish is Wish.CANCEL:
            self._cancelling = True
            return await self._cancels_until(interrupts)
        return wish is Wish.DETACH

    async def _cancels_until(self, interrupts: Interrupts) -> bool:
        """Send the cancellation, however often it takes; whether Ctrl-C came before it was answered."""
        sending = asyncio.ensure_future(self._job.cancel())
        interrupted = asyncio.ensure_future(interrupts.one())
        try:
            await asyncio.wait({sending, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                with suppress(Invalid):  # it has ended meanwhile
                    sending.result()
                self._screen.say("cancelling: its ranks are being stopped; Ctrl-C detaches")
            else:
                self._screen.say("the cancellation was not answered; whether it was heard is not known")
            return interrupted.done()
        finally:
            sending.cancel()
            interrupted.cancel()
            await asyncio.gather(sending, interrupted, return_exceptions=True)

    def _detached(self) -> int:
        self._screen.say("detached: the job goes on. To follow it again, or to end it:")
        self._screen.say(f"  longshore logs -f {self._job.id}\n  longshore cancel {self._job.id}")
        return exits.DETACHED

    async def _ended(self) -> int:
        if self._end is None:
            raise NotFound(f"job {self._job.id} was deleted", status=404, code=5)
        code = await self._job.exit_code()
        if self._screen.as_json:
            self._screen.json_line({"event": "exit", "exitCode": code})
        else:
            tell_end(self._screen, self._end)
        return code


def tell_end(screen: Screen, job: BatchJob, *, named: bool = False) -> None:
    """How a job ended, on stderr; `named`: and which it was."""
    begun = job.start_time or job.create_time
    took = f" after {lasted((job.end_time - begun).total_seconds())}" if begun and job.end_time else ""
    which = f"{job.id} " if named else ""
    screen.say(f"{which}{job.state.lower()}{took}: {job.status}", _STYLES.get(job.state, ""))
