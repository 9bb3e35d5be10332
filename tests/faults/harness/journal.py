"""Append-only files of one JSON value a line, written by many threads, readable whatever became of the writer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """One file. An entry is on disk, as far as the kernel is concerned, when `write` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def write(self, **entry: Any) -> None:
        """Append an entry; `at` is this machine's time unless it is given."""
        line = json.dumps({"at": time.time(), **entry})
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        """No entry is taken after this."""
        with self._lock:
            self._file.close()


def read_journal(path: Path) -> Iterator[Entry]:
    """Its entries in order. A last line that was cut short is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
