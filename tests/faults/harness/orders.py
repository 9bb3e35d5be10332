"""Orders to die or to freeze at a named point (`core.failpoints`), a folder for each kind of process."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from core.failpoints import TAKEN, VARIABLE, Point


@dataclass(frozen=True)
class Order:
    """One that was given."""

    path: Path

    @property
    def is_taken(self) -> bool:
        """Whether a process has obeyed it."""
        return not self.path.exists()

    def withdraw(self) -> None:
        """Nobody is to obey it any more."""
        self.path.unlink(missing_ok=True)


class Orders:
    """The folders, which the processes know from their start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count(1)

    def variables(self, process: str) -> dict[str, str]:
        """What is added to a process's environment."""
        own = self._folder / process
        own.mkdir(parents=True, exist_ok=True)
        return {VARIABLE: str(own)}

    def give(self, process: str, point: Point, *subjects: str, action: str = "kill") -> Order:
        """The next process of this kind that comes to the point with all of these subjects does it, once."""
        own = self._folder / process
        own.mkdir(parents=True, exist_ok=True)
        path = own / f"{point.value}.{next(self._count)}"
        draft = own / f"draft.{path.name}"
        draft.write_text(" ".join([action, *subjects]))
        draft.rename(path)
        return Order(path)


def taken(folder: Path) -> list[str]:
    """The orders that were obeyed, as `process/point.number`."""
    return sorted(f"{path.parent.name}/{path.name.removesuffix(TAKEN)}" for path in folder.glob(f"*/*{TAKEN}"))
