"""A job's output on the terminal: a line each, behind its rank where there are several."""

from __future__ import annotations

from client.command_line.screen import Screen, shown_output
from client.reads.jobs import LogEntry

#: Colours of ranks, which come round again. Red is for what failed.
_RANK_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


class LogLines:
    """Writes entries. `ranks`: how many there are to be told apart."""

    def __init__(self, screen: Screen, ranks: int, *, times: bool = False) -> None:
        self._screen = screen
        self._prefixed = ranks > 1
        self._width = len(f"rank-{ranks - 1}")
        self._times = times
        self._attempt = 0

    def write(self, entry: LogEntry) -> None:
        """One entry, seen at once."""
        screen = self._screen
        if screen.as_json:
            screen.json_line({"event": "log", **entry.fields})
            return
        if self._attempt and entry.attempt > self._attempt:
            screen.say(f"attempt {entry.attempt}", "dim")
        self._attempt = max(self._attempt, entry.attempt)
        message = shown_output(entry.message) if screen.out.is_terminal else entry.message
        # A colour that the program left on is not to reach the next line.
        end = "\x1b[0m" if "\x1b" in message and screen.out.is_terminal else ""
        screen.out.file.write(f"{self._before(entry)}{message}{end}\n")
        screen.out.file.flush()

    def _before(self, entry: LogEntry) -> str:
        time = f"{entry.log_time.astimezone():%H:%M:%S} " if self._times and entry.log_time else ""
        if not self._prefixed:
            return time
        prefix = f"{f'rank-{entry.rank}':<{self._width}} │"
        if self._screen.coloured:
            prefix = f"\x1b[{_RANK_COLOURS[entry.rank % len(_RANK_COLOURS)]}m{prefix}\x1b[0m"
        return f"{time}{prefix} "
