"""The terminal: results on stdout, everything else on stderr; tables of 80 columns; JSON where it is asked for.

Without a terminal there are no colours, no cursor movements and no spinners, and with NO_COLOR no colours. What
others wrote (names, statuses, output) never moves a terminal's cursor or sets its title.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO, TypeVar

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from client.reads.wire import Read

R = TypeVar("R", bound=Read)
COLOURS = {
    "RUNNING": "cyan",
    "COMPLETED": "green",
    "SUCCEEDED": "green",
    "READY": "green",
    "FAILED": "red",
    "LOST": "red",
    "DOWN": "red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "STOPPED": "yellow",
    "DRAINING": "yellow",
    "PENDING": "magenta",
    "QUEUED": "blue",
}
_GAP = "  "
#: Of which any would break a line or a column.
_BLANKS = re.compile(r"[\n\t\u2028\u2029]")
#: Of the last column, however wide the others are.
_LEAST_ROOM = 12
#: Everything that a terminal obeys: sequences that begin with ESC, and control characters.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]",
    re.DOTALL,
)
_COLOURING = re.compile(r"\x1b\[[0-9;:]*m")


class Screen:
    """Both streams of the process. `as_json`: stdout is for programs."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = _console(out or sys.stdout)
        self.err = _console(err or sys.stderr)

    @property
    def coloured(self) -> bool:
        """Whether stdout shows colours."""
        return self.out.color_system is not None

    @property
    def is_live(self) -> bool:
        """Whether somebody looks at what changes on stderr."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    def json(self, value: Any) -> None:
        """One document, one line where it is read by a program line by line."""
        text = json.dumps(value, ensure_ascii=False, indent=2 if self.out.is_terminal else None)
        self.out.file.write(f"{text}\n")
        self.out.file.flush()

    def json_line(self, value: Any) -> None:
        """One of many documents."""
        self.out.file.write(json.dumps(value, ensure_ascii=False) + "\n")
        self.out.file.flush()

    def done(self, value: Any, sentence: str) -> int:
        """What a command has done: a document for a program, a sentence for a person. The exit code."""
        if self.as_json:
            self.json(value)
        else:
            self.say(sentence)
        return 0

    def listed(
        self,
        found: Iterable[R],
        columns: Sequence[str],
        row: Callable[[R], Sequence[str]],
        *,
        folds: bool = False,
    ) -> int:
        """What a command has found: one document, or a table with a row of each. The exit code."""
        if self.as_json:
            self.json([dict(each.fields) for each in found])
        else:
            self.table(columns, map(row, found), folds=folds)
        return 0

    def line(self, text: str) -> None:
        """A result, as it is."""
        self.out.file.write(f"{text}\n")

    def say(self, text: str, style: str = "") -> None:
        """Something for a person, on stderr, folded to the width of the terminal."""
        self._tell(Text(plain(text), style))

    def fail(self, text: str) -> None:
        """What went wrong."""
        self._tell(Text.assemble(("longshore: ", "red"), plain(text)))

    def _tell(self, text: Text) -> None:
        """Folded on a terminal, elsewhere a line: a program that reads it looks for lines."""
        self.err.print(text, soft_wrap=not self.err.is_terminal)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values, below each other; what is empty is left out."""
        rows = [(name, value) for name, value in facts.items() if value]
        self.out.print(laid_out(rows, self.out.width, folds=True), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, folds: bool = False) -> None:
        """Columns as wide as they need, the last as wide as there is room, cut there or folded."""
        self.out.print(laid_out([columns, *rows], self.out.width, folds=folds, headed=True), soft_wrap=True)


def laid_out(rows: Sequence[Sequence[str]], width: int, *, folds: bool = False, headed: bool = False) -> Text:
    """Rows below each other. Nothing but the last column is ever cut: ids are there to be copied."""
    cells = [[_BLANKS.sub(" ", plain(cell)) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)][:-1]
    before = sum(widths) + len(_GAP) * len(widths)
    room = max(width - before, _LEAST_ROOM)
    lines: list[Text] = []
    for number, (*first, last) in enumerate(cells):
        heads = headed and not number
        line = Text()
        for cell, column in zip(first, widths, strict=True):
            line.append(set_cell_size(cell, column), "bold" if heads else COLOURS.get(cell, "")).append(_GAP)
        for part in _folded(last, room) if folds else [_cut(last, room)]:
            line.append(part, "bold" if heads else COLOURS.get(last, ""))
            line.rstrip()
            lines.append(line)
            line = Text(" " * before)
    return Text("\n").join(lines)


def _cut(text: str, room: int) -> str:
    return text if cell_len(text) <= room else f"{set_cell_size(text, room - 1).rstrip()}…"


def _folded(text: str, room: int) -> list[str]:
    """At spaces; text of characters that are wider than one column wherever it is full."""
    if cell_len(text) == len(text):
        return textwrap.wrap(text, room) or [""]
    return chop_cells(text, room)


def plain(text: str) -> str:
    """The text without anything that a terminal obeys."""
    return _SEQUENCES.sub("", text)


def shown_output(text: str) -> str:
    """A line of a program for a terminal: its colours stay, what a carriage return writes over is left out."""
    visible = next((part for part in reversed(text.split("\r")) if part), "")
    return _SEQUENCES.sub(lambda found: found[0] if _COLOURING.fullmatch(found[0]) else "", visible)


class _Console(Console):
    """Rich's, but for a reader that is gone: rich ends the process there, as if the command had been refused."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    if "NO_COLOR" in os.environ:
        return _Console(file=stream, color_system=None, highlight=False, soft_wrap=False)
    return _Console(file=stream, highlight=False, soft_wrap=False)
