"""What a job waits for: one line that changes on a terminal, a line for each change without one."""

from __future__ import annotations

import time
from datetime import datetime

from rich.status import Status
from rich.text import Text

from client.command_line.screen import COLOURS, Screen, plain

#: Without a terminal, progress of a pull is told so often.
_EVERY_SECONDS = 10.0


class StatusLine:
    """Shows states until output comes. Safe to stop however often."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._spinner: Status | None = None
        self._told: tuple[str, str] = ("", "")
        self._told_at = 0.0

    def show(self, state: str, reason: str, sentence: str) -> None:
        """The state that the job is in, and why."""
        text = plain(state.lower() if sentence in ("", state.lower()) else f"{state.lower()}: {sentence}")
        if self._screen.is_live:
            self._spin(state, text)
        elif (state, reason) != self._told or time.monotonic() > self._told_at + _EVERY_SECONDS:
            self._told, self._told_at = (state, reason), time.monotonic()
            self._screen.say(text)

    def stop(self) -> None:
        """Take the line away."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _spin(self, state: str, text: str) -> None:
        # One line: a folded one is not taken away whole.
        room = max(self._screen.err.width - 4, 10)
        shown = Text(text if len(text) <= room else f"{text[: room - 1]}…", COLOURS.get(state, ""))
        if self._spinner is None:
            self._spinner = Status(shown, console=self._screen.err)
            self._spinner.start()
        else:
            self._spinner.update(shown)


def waiting_sentence(status: str, place: int, starts: datetime | None) -> str:
    """A status with the place in the queue and the expected start, where they are known."""
    known = [f"place {place} in the queue"] if place > 1 else []
    known += [f"expected to start at {starts.astimezone():%H:%M}"] if starts is not None else []
    return "; ".join([status, *known]) if status else ", ".join(known)
